"""Detect hung, stopped and dead ranks, report what they were doing, and end the job."""
