"""Models fitted to curves over rank counts: candidates, their weights, and prediction intervals."""
