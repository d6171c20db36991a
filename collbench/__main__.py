"""`python -m collbench`: the command line, also where its script is not on the PATH."""

from collbench.launch.cli import main

main()
