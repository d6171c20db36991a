"""The words of the verdict on a point, and what each says."""

from types import MappingProxyType

__all__ = ["HIGH", "LOW", "NORMAL", "NO_REFERENCE", "VERDICTS"]

NORMAL, LOW, HIGH, NO_REFERENCE = "normal", "low", "high", "no reference"

VERDICTS = MappingProxyType({
    NORMAL: "within the range of the reference: a baseline, or published measurements",
    LOW: "slower than that range",
    HIGH: "faster than that range, or than a hard bound",
    NO_REFERENCE: "nothing comparable is known; a bound alone cannot tell whether a figure is normal",
})
