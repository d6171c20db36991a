"""What is measured: cases, the table of operations, and how pairs of ranks are scheduled."""
