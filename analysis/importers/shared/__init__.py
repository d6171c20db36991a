"""Shared by several importers: clean lines, names, numbers with their rounding error, and collected results."""
