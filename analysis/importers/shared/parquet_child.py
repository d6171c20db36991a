"""Program that writes a Parquet file as CSV: `python -m ... FILE.parquet FILE.csv`."""

import sys
from contextlib import suppress
from pathlib import Path

from ...text.safe_csv import to_csv

__all__ = ["main"]

_MOST_CELLS = 20_000_000
_MOST_BYTES = 4 << 30       # of memory; a damaged file may ask for any amount


def main() -> None:
    """Convert; exits with 1 and a reason if it cannot."""
    import fastparquet
    with suppress(ImportError):     # Windows has no limits
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    table = fastparquet.ParquetFile(sys.argv[1])
    cells = table.count() * len(table.columns)
    if not 0 <= cells <= _MOST_CELLS:
        sys.exit(f"{cells} cells; at most {_MOST_CELLS} are read")
    Path(sys.argv[2]).write_text(to_csv(table.to_pandas()), encoding="utf-8")


if __name__ == "__main__":
    main()
