"""Text that people read: units, safe terminal output, safe CSV."""
