"""What an operation must cost: bytes, algorithms, schedules, levels, and each library's choice among them."""
