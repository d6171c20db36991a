"""Objects of Kubernetes as plain dictionaries, made by pure functions of a job; the launchers put them together."""
