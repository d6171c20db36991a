"""Run a function in a forked child and collect its result later."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from typing import TypeVar, cast

__all__ = ["run_in_child"]

Found = TypeVar("Found")


def run_in_child(function: Callable[[], Found]) -> Callable[[], Found]:
    """Start `function` in a forked child; returns a callable that waits for the result.

    If forking is unsafe on this platform, or the child dies, the callable runs the function in this process.
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
            return cast(Found, receiver.recv())
        except EOFError:        # the child failed: repeat here, so that the error is raised in this process
            return function()
        finally:
            receiver.close()
            process.join()
    return result


def _send(sender: Connection, function: Callable[[], object]) -> None:
    with suppress(Exception):
        sender.send(function())
