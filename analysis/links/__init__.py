"""The link matrix: what every pair of ranks has between it, which tiers that makes, and what does not fit."""

from .matrix import CELLS, LinkMatrix, read_links
from .terminal import as_text

__all__ = ["CELLS", "LinkMatrix", "as_text", "read_links"]
