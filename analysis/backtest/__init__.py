"""Backtest: fit on few ranks, predict more, and compare errors and coverage with simpler models."""

from .run import Point, backtest, load_rows
from .scores import summarise

__all__ = ["Point", "backtest", "load_rows", "summarise"]
