"""The timing loop: clocks, alignment of starts, sampling and verification."""
