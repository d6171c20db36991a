"""The timing loop: clocks, alignment of starts, measurement and verification."""
