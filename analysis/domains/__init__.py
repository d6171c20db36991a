"""Scale-up domains as cited data."""
