"""Accelerator probes, one module each. A probe is `find(system)`; it returns a `ProbeAnswer`, or None if absent."""
