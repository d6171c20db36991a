"""Probe a library in a subprocess, so that one that is broken, slow or aborts cannot affect the doctor."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["ask", "output"]

_LIMIT_S = 60.0


def ask(command: Sequence[str], environment: Mapping[str, str], limit_s: float = _LIMIT_S) -> tuple[dict, str]:
    """Run a program that writes JSON to the file $COLLBENCH_ANSWER; ({}, reason in one line) if it wrote none.

    Standard output is unsuitable: vendor libraries write there, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        said = output(command, {**environment, "COLLBENCH_ANSWER": str(answer), "PYTHONSAFEPATH": "1"}, limit_s)
        try:
            return json.loads(answer.read_text()), ""
        except (OSError, ValueError):
            return {}, _reason(said[1])


def output(command: Sequence[str], environment: Mapping[str, str] | None = None,
           limit_s: float = _LIMIT_S) -> tuple[int, str]:
    """Exit status and all output; status -1 if the program could not be started or did not finish."""
    try:
        done = subprocess.run(list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s,
                              stdin=subprocess.DEVNULL, env=dict(os.environ if environment is None else environment),
                              check=False)
    except subprocess.TimeoutExpired:
        return -1, f"no answer within {limit_s:.0f} s"
    except OSError as error:
        return -1, f"{command[0]}: {error.strerror}"
    return done.returncode, done.stdout.decode(errors="replace")


def _reason(said: str) -> str:
    """The most informative line of a traceback or message: the last that looks like an error, else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip(" -*=")]
    telling = [line for line in lines if "rror" in line or "annot" in line]
    return ((telling or lines or ["it ended without a message"])[-1])[:200]
