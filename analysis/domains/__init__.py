"""Scale-up domains: cited facts, as data."""
