"""Measure collectives and point-to-point operations on one transport, verified, into a journal."""
