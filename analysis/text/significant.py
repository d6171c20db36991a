"""Numbers rounded to the digits that a file keeps."""

__all__ = ["significant"]


def significant(value: float, digits: int = 5) -> float:
    """The value rounded to so many significant digits."""
    return float(f"{value:.{digits}g}")
