"""The ranks of a job: which one this is, what its host offers, and who the others are."""
