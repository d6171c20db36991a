"""What is measured: cases, the table of operations, traffic patterns, and the schedule of link rounds."""
