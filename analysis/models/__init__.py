"""Models fitted to curves over rank counts: what competes, how it is weighed, and how wide its interval is."""
