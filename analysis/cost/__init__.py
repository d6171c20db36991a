"""Cost models of operations: bytes, algorithms, schedules, machine levels, and library selection rules."""
