"""Kinds of accelerators that tell of themselves. Each module has `find(system)`: an `Asked`, or None for none here."""
