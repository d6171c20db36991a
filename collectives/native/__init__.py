"""The compiled timing loop: one small C file, built once with the mpicc at hand and kept for the next run."""
