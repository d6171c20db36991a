"""Figures as files, rendered by child processes while the caller continues."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

from . import render_chart
from .figures import Chart

__all__ = ["FigureFiles", "save_charts"]

_PROCESSES = 2          # at most: each takes 150 MB and half a second to start
# The child uses this process's module path and nothing from its working directory.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from collbench.analysis.report.render_chart import serve; serve()"


class FigureFiles:
    """Charts as NAME.png and NAME.svg in a folder; all are complete when the `with` statement ends.

    Raises:
        OSError: at the end, if a file could not be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()
        self._turns = ThreadPoolExecutor(min(_PROCESSES, os.cpu_count() or 1))
        self._beside = ThreadPoolExecutor(1)
        self._idle: LifoQueue[_Renderer] = LifoQueue()
        self._drawn: list[Future[None]] = []

    def add(self, chart: Chart) -> None:
        """Queue `chart`."""
        self._drawn.append(self._turns.submit(self._draw, chart))

    def library(self) -> Future[str]:
        """The code of `render_chart.library`."""
        return self._beside.submit(_library)

    def __enter__(self) -> "FigureFiles":
        return self

    def __exit__(self, failed: type[BaseException] | None, *exception: object) -> None:
        self._turns.shutdown(cancel_futures=failed is not None)
        self._beside.shutdown()
        while not self._idle.empty():
            self._idle.get().end()
        for one in self._drawn if failed is None else ():
            one.result()        # re-raises an error of its thread

    def _draw(self, chart: Chart) -> None:
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = _Renderer()
        path = str(self._folder / chart.name)
        answer = process.ask({"spec": chart.spec, "caption": chart.caption, "path": path})
        if answer is None:        # killed, usually for lack of memory
            process.end()
            render_chart.draw(chart.spec, chart.caption, path)
            return
        self._idle.put(process)
        if answer:
            raise OSError(answer["errno"], answer["words"])


class _Renderer:
    """A child process that runs `render_chart.serve`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *sys.path], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)

    def ask(self, request: object) -> dict[str, Any] | None:
        """Its answer, or None if it ended without one."""
        if self._process.stdin is None or self._process.stdout is None:
            return None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] | None = json.loads(self._process.stdout.readline() or "null")
        except BrokenPipeError:
            return None
        return answer

    def end(self) -> None:
        """Close its input and wait for it."""
        self._process.communicate()


def _library() -> str:
    process = _Renderer()       # not one that draws: bundling leaves the process large
    answer = process.ask(None)
    process.end()
    return str(answer["library"]) if answer else render_chart.library()


def save_charts(charts: Iterable[Chart], folder: Path) -> None:
    """Write every chart as NAME.png and NAME.svg."""
    with FigureFiles(folder) as files:
        for chart in charts:
            files.add(chart)
