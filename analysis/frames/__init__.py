"""Data frames of measured points: loading, keys, and what is derived from them."""
