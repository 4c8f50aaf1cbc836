"""Runs a command; ends it, with all that it has started, when the standard input ends, as it does when a test dies."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys

SET_SIGNAL_AT_DEATH_OF_PARENT = 1


def die_with_parent() -> None:
    """Linux only; elsewhere it ends at the end of the input alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_SIGNAL_AT_DEATH_OF_PARENT, signal.SIGKILL)


with subprocess.Popen(
    sys.argv[1:],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
    start_new_session=True,
    preexec_fn=die_with_parent,
) as command:
    sys.stdin.read()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(command.pid, signal.SIGKILL)
