"""What several importers need: clean lines, names, figures with their rounding, and the gathering of results."""
