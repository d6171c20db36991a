"""Proof: fit on few ranks, predict more, count how often the interval was right, beside what simpler models say."""

from .run import Point, backtest, load_rows
from .scores import summarise

__all__ = ["Point", "backtest", "load_rows", "summarise"]
