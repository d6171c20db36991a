"""Runs of one cluster over time: a file that only grows, changes of its cases, and a baseline from before the last."""
