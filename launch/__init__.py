"""Turn a job into a command or a script, and run it; home of the `collbench` command."""
