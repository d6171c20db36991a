"""Diagnose this machine. To add a check, add a file to `checks`."""
