"""Which node of a fleet is slow or broken, from launches over disjoint pairs of nodes."""
