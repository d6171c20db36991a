"""Figures as files, rendered by child processes while the caller continues."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Timer
from typing import Any

from collbench.collectives.errors import MissingLibraryError, printable

from .figures import Chart

__all__ = ["FigureFiles", "RendererError", "require_renderer", "save_charts"]

_PROCESSES = 2          # at most: each takes 150 MB and half a second to start
_LONGEST_S = 120.0      # for one answer, which takes a second; a process that is stopped never answers
_WORDS = 200            # characters of what a process said before it ended
# The child uses this process's module path and nothing from its working directory.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from collbench.analysis.report.render_chart import serve; serve()"


class RendererError(Exception):
    """A process that renders ended without an answer, or refused; the message says why."""


def require_renderer() -> None:
    """Raise MissingLibraryError unless the library that draws charts as files is installed."""
    if find_spec("vl_convert") is None:
        raise MissingLibraryError("figures as files need vl-convert-python (84 MB): pip install 'collbench[figures]'; "
                                  "a page needs nothing")


class FigureFiles:
    """Charts as NAME.png and NAME.svg in a folder; all are complete when the `with` statement ends.

    Nothing is rendered in this process, which the rendering library would take along when it panics. `missing` has the
    names of charts without files, and why: their process ended, twice. Files of an earlier report by these names are
    removed.

    Args:
        slides: in the shape and size for slides.

    Raises:
        MissingLibraryError: the rendering library is not installed.
        OSError: at the end, if a file could not be written.
    """

    def __init__(self, folder: Path, slides: bool = False) -> None:
        require_renderer()
        folder.mkdir(parents=True, exist_ok=True)
        self.missing: dict[str, str] = {}
        self._folder, self._slides = folder.resolve(), slides
        self._turns = ThreadPoolExecutor(min(_PROCESSES, os.cpu_count() or 1))
        self._idle: LifoQueue[_Renderer] = LifoQueue()
        self._drawn: list[Future[None]] = []

    def add(self, chart: Chart) -> None:
        """Queue `chart`."""
        self._drawn.append(self._turns.submit(self._draw, chart))

    def __enter__(self) -> "FigureFiles":
        return self

    def __exit__(self, failed: type[BaseException] | None, *exception: object) -> None:
        self._turns.shutdown(cancel_futures=failed is not None)
        while not self._idle.empty():
            self._idle.get().end()
        for one in self._drawn if failed is None else ():
            one.result()        # re-raises an error of its thread

    def _draw(self, chart: Chart) -> None:
        path = str(self._folder / chart.name)
        try:
            answer = self._ask({"spec": chart.spec, "caption": chart.caption, "path": path, "slide": self._slides})
        except RendererError as error:
            self.missing[chart.name] = str(error)
            for end in (".svg", ".png"):
                Path(path + end).unlink(missing_ok=True)
            return
        if "errno" in answer:
            raise OSError(answer["errno"], answer["words"])

    def _ask(self, request: object) -> dict[str, Any]:
        """The answer of an idle process, else of a new one; if it ends without an answer, of another new one."""
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = _Renderer()
        answer = process.ask(request)
        if answer is None:      # perhaps for lack of memory, of which a new process has more
            process.end()
            process = _Renderer()
            answer = process.ask(request)
        if answer is None:
            raise RendererError(process.end())
        self._idle.put(process)
        if "refused" in answer:
            raise RendererError(printable(str(answer["refused"]))[:_WORDS])
        return answer


class _Renderer:
    """A child process that runs `render_chart.serve`. RendererError if it cannot be started."""

    def __init__(self) -> None:
        self._silent = False
        try:
            self._said = tempfile.TemporaryFile()       # noqa: SIM115, it lives as long as the process
            self._process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *sys.path], stdin=subprocess.PIPE,
                                             stdout=subprocess.PIPE, stderr=self._said)
        except OSError as error:
            raise RendererError(f"no drawing process can be started: {error.strerror}") from None

    def ask(self, request: object) -> dict[str, Any] | None:
        """Its answer, or None if it ended without one."""
        if self._process.stdin is None or self._process.stdout is None:
            return None
        patience = Timer(_LONGEST_S, self._give_up)
        patience.daemon = True
        patience.start()
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] | None = json.loads(self._process.stdout.readline() or "null")
        except (BrokenPipeError, json.JSONDecodeError):     # half an answer: it ended while it wrote
            return None
        finally:
            patience.cancel()
        return answer

    def _give_up(self) -> None:
        self._silent = True
        self._process.kill()

    def end(self) -> str:
        """Close its input and wait for it; says how it ended."""
        try:
            self._process.communicate(timeout=_LONGEST_S)
        except BrokenPipeError:     # it ended before it read everything
            self._process.wait()
        except subprocess.TimeoutExpired:
            self._give_up()
            self._process.wait()
        status = self._process.returncode
        if self._silent:
            how = f"did not answer for {_LONGEST_S:g} s"
        elif status == 0:
            how = "ended without an answer"
        elif status < 0:
            how = f"was ended by {_signal(-status)}"
        else:
            how = f"ended with status {status}"
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        self._said.close()
        first = next((line.strip() for line in lines if line.strip()), "")
        return f"the drawing process {how}{f': {printable(first)[:_WORDS]}' if first else ''}"


def _signal(number: int) -> str:
    """Its name; SIGKILL with the usual cause."""
    try:
        name = signal.Signals(number).name
    except ValueError:          # a real-time signal
        return f"signal {number}"
    return f"{name}, usually for lack of memory" if number == signal.SIGKILL else name


def save_charts(charts: Iterable[Chart], folder: Path, slides: bool = False) -> dict[str, str]:
    """Write every chart as NAME.png and NAME.svg; the names of those that cannot be drawn, and why."""
    with FigureFiles(folder, slides) as files:
        for chart in charts:
            files.add(chart)
    return files.missing
