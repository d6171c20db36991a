"""What is here, what collbench will use, and what to do about it. A thing checked is a file in `checks`."""
