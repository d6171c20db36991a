"""Text output: units, safe terminal output, safe CSV."""
