"""What a program does with the rows of buffers between the calls of a communication library."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

__all__ = ["RowMath"]

RawBytes = Any  # uint8 [byte]: a numpy array or a tensor


class RowMath(Protocol):
    """Moving and adding rows in the memory that the buffers are in."""

    def stored(self, array: "np.ndarray") -> RawBytes:
        """The bytes of an array, moved to where the buffers are."""

    def selection(self, places: "np.ndarray") -> Any:
        """Numbers of rows, int64 [row], moved to where the buffers are; for `take`."""

    def take(self, source: RawBytes, target: RawBytes, row_bytes: int, selection: Any) -> None:
        """Copy the selected rows of `source` to the beginning of `target`."""

    def addition(self, places: "np.ndarray", weights: "np.ndarray", counts: "np.ndarray", rows: int, width: int,
                 dtype: str) -> Any:
        """The sums that `add` makes, and the memory for it.

        Args:
            places: the row of the target that each row of the source is added to, int64 [row].
            weights: factor of each row of the source, whole numbers [row].
            counts: lengths of consecutive parts of the source in which each row of the target occurs once at most.
            rows: of the target.
            width: elements of a row.
            dtype: element type; floating point.
        """

    def add(self, source: RawBytes, target: RawBytes, addition: Any) -> None:
        """Set the target to the weighted sums of the rows of the source; 0 where nothing is added."""

    def numbers(self, raw: RawBytes) -> list[int]:
        """int64 from a buffer, on the host; waits for what was queued before."""
