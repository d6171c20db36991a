"""Launches over many pairs of nodes at once."""
