"""Measure the interconnect you have; say, with honest error bars, what it means at 72 and at 384 accelerators."""
