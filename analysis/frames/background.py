"""Work done in a process of its own while this one goes on with something else."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from typing import TypeVar

__all__ = ["aside"]

Found = TypeVar("Found")


def aside(function: Callable[[], Found]) -> Callable[[], Found]:
    """Start `function` beside this process, on a copy of its memory; call what is returned for the result.

    Where no process can be forked safely, or it dies, the function is called here, when the result is asked for.
    """
    if not sys.platform.startswith("linux") or len(os.sched_getaffinity(0)) < 2:
        return cache(function)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function), daemon=True)
    process.start()
    sender.close()

    @cache
    def result() -> Found:
        try:
            return receiver.recv()
        except EOFError:        # whatever it was that went wrong, it goes wrong again here, where it is said
            return function()
        finally:
            receiver.close()
            process.join()
    return result


def _send(sender: Connection, function: Callable[[], object]) -> None:
    with suppress(Exception):
        sender.send(function())
