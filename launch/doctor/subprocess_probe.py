"""Ask another process, so that a library that is broken, or slow, or ends its process, cannot take the doctor along."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["ask", "output"]

_LIMIT_S = 60.0


def ask(command: Sequence[str], environment: Mapping[str, str], limit_s: float = _LIMIT_S) -> tuple[dict, str]:
    """Run a program that leaves JSON in the file named by $COLLBENCH_ANSWER; ({}, why in one line) when it left none.

    Not over standard output: vendor libraries write there as they like.
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
    """Exit status and all that was said; status -1 where the program could not be started or did not end."""
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
    """The line of a traceback or message that tells most: the last that looks like an error, else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip(" -*=")]
    telling = [line for line in lines if "rror" in line or "annot" in line]
    return ((telling or lines or ["it ended without a word"])[-1])[:200]
