"""Statistics of one measured point, and the rule that stops sampling."""
