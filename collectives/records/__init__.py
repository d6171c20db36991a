"""Results: records, their digests, and the journal that stores them."""
