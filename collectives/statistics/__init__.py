"""Statistics of one measured point, and when to stop sampling."""
