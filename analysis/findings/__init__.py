"""What stands out in a run: stragglers, broken performance guidelines, instability."""
