"""Launchers, one module each: from a Job to a command line or a batch script."""
