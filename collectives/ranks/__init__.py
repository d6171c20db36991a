"""Where this rank runs: rendezvous, host limits, processes and provenance."""
