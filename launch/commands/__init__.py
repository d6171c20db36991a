"""One file a subcommand: its `command`, under the file's name, is found by its folder."""
