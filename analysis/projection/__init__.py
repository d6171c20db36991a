"""Projection to other scale-up domains: cited facts times efficiencies learned from measurements."""

from .head_to_head import NORMALISATIONS, Versus, versus
from .project import COLUMNS, as_json, home_of, project

__all__ = ["COLUMNS", "NORMALISATIONS", "Versus", "as_json", "home_of", "project", "versus"]
