"""From measurements here, or anybody's, to another scale-up domain: cited facts times learned efficiencies."""

from .project import COLUMNS, as_json, home_of, project
from .versus import NORMALISATIONS, Versus, versus

__all__ = ["COLUMNS", "NORMALISATIONS", "Versus", "as_json", "home_of", "project", "versus"]
