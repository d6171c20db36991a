"""Cost models: what an operation should cost over n ranks, fitted to what it did cost, evaluated further out."""

from .predict import as_json, extrapolate

__all__ = ["as_json", "extrapolate"]
