"""Variants of the same operations measured in turn: the table of variants, and the rounds of launches."""
