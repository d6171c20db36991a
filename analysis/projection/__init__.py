"""From measurements here, or anybody's, to another scale-up domain: cited facts times learned efficiencies."""

from .head_to_head import NORMALISATIONS, Versus, versus
from .project import COLUMNS, as_json, home_of, project

__all__ = ["COLUMNS", "NORMALISATIONS", "Versus", "as_json", "home_of", "project", "versus"]
