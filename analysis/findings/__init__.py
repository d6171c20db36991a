"""What stands out in a run: stragglers, violated performance guidelines, instability."""
