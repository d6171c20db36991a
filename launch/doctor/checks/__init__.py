"""One file for each thing: `ORDER`, where it stands in the list, and `examine(request)`, its findings."""
