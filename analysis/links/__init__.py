"""The link matrix: latency and bandwidth of every pair of ranks, the tiers they form, and anomalies."""

from .matrix import CELLS, LinkMatrix, read_links
from .terminal import as_text

__all__ = ["CELLS", "LinkMatrix", "as_text", "read_links"]
