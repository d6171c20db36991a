"""Detect hung, stopped and dead ranks; say what they were doing; end the job."""
