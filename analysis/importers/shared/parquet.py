"""Parquet tables as the CSV that they stand for, so that one importer reads both.

They are read by another process: fastparquet, like other decoders in C, can crash on a damaged file.
"""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from collbench.collectives.errors import CollbenchError, MissingLibraryError

__all__ = ["MAGIC", "as_csv"]

MAGIC = b"PAR1"
_CHILD = "collbench.analysis.importers.shared.parquet_child"
_LONGEST_S = 120


def as_csv(path: Path, raw: bytes, error: type[CollbenchError]) -> bytes:
    """The table in `raw`, the content of `path`, with a heading.

    Raises:
        MissingLibraryError: without fastparquet.
        error: it is damaged or too large.
    """
    if importlib.util.find_spec("fastparquet") is None:
        raise MissingLibraryError(f"{path}: a Parquet file, which needs fastparquet: pip install "
                                  "'collbench[aiconfigurator]'")
    with tempfile.TemporaryDirectory() as folder:
        table, text = Path(folder) / "table.parquet", Path(folder) / "table.csv"
        table.write_bytes(raw)
        try:
            done = subprocess.run([sys.executable, "-m", _CHILD, str(table), str(text)], capture_output=True, text=True,
                                  errors="replace", timeout=_LONGEST_S, check=False)
        except subprocess.TimeoutExpired:
            raise error(f"{path}: a Parquet file that takes over {_LONGEST_S} s to read") from None
        if done.returncode or done.stdout or not text.exists():     # what it prints are errors of the decoder
            reason = [line for line in done.stderr.splitlines() if line.strip()][-1:] if done.returncode > 0 else []
            words = "".join(f" ({line.strip():.120})" for line in reason)
            raise error(f"{path}: a damaged Parquet file{words}")
        return text.read_bytes()
