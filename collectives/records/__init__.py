"""What a run leaves behind: records, their digests, and the journal that holds them."""
