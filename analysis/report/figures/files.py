"""The figures on disk, drawn in processes of their own while the caller goes on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, LifoQueue

from .. import render_chart
from .chart import Chart

__all__ = ["Files", "save"]

_PROCESSES = 2          # at most: each takes 150 MB and half a second to start
# Finds what this process finds, and nothing that happens to lie where it runs.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from collbench.analysis.report.render_chart import serve; serve()"


class Files:
    """Charts as NAME.png and NAME.svg in a folder; used in a `with` statement, after which all are there.

    Raises:
        OSError: at the end, where a file could not be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()
        self._turns = ThreadPoolExecutor(max(1, min(_PROCESSES, (os.cpu_count() or 1) - 1)))   # a core is ours
        self._beside = ThreadPoolExecutor(1)
        self._idle: LifoQueue[_Process] = LifoQueue()
        self._drawn: list[Future[None]] = []

    def add(self, chart: Chart) -> None:
        """Have `chart` drawn, some time."""
        self._drawn.append(self._turns.submit(self._draw, chart))

    def library(self) -> Future[str]:
        """The code of `drawing.library`, some time."""
        return self._beside.submit(_library)

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, failed: type[BaseException] | None, *exception: object) -> None:
        self._turns.shutdown(cancel_futures=failed is not None)
        self._beside.shutdown()
        while not self._idle.empty():
            self._idle.get().end()
        for one in self._drawn if failed is None else ():
            one.result()        # raises what was raised

    def _draw(self, chart: Chart) -> None:
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = _Process()
        asked = {"spec": chart.spec, "caption": chart.caption, "path": str(self._folder / chart.name)}
        told = process.ask(asked)
        if told is None:        # it was killed, for want of memory as a rule
            process.end()
            render_chart.draw(**asked)
            return
        self._idle.put(process)
        if told:
            raise OSError(told["errno"], told["words"])


class _Process:
    """One that runs `drawing.serve`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *sys.path], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)

    def ask(self, asked: object) -> dict[str, str] | None:
        """Its answer, or None where it has ended without one."""
        try:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline() or "null")
        except BrokenPipeError:
            return None

    def end(self) -> None:
        """Have it end."""
        self._process.communicate()


def _library() -> str:
    process = _Process()        # one that draws nothing: it is large after this
    told = process.ask(None)
    process.end()
    return told["library"] if told else render_chart.library()


def save(drawn: Iterable[Chart], folder: Path) -> None:
    """Write every chart as NAME.png and NAME.svg."""
    with Files(folder) as files:
        for chart in drawn:
            files.add(chart)
