"""From records, anybody's, to a decision. Runs on a laptop: neither torch nor mpi4py is ever imported here."""
