"""The rank program: open a session, walk the sweep, write the journal."""
