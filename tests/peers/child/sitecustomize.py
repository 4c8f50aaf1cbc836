"""Python runs this at the start of each process that a test starts, and of those that they start.

It ends the process when the test is over, however that came about: passed, failed, or killed with the whole test run.
The test holds an exclusive lock on a file, which the system releases when the test's process is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import runpy
import signal
import threading
from pathlib import Path


def end_with_test(lifeline: str) -> None:
    """Waits, in a thread of its own, until the lock on the file is free or the file is gone; ends this process then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are for the main thread
    with contextlib.suppress(OSError), Path(lifeline).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    os._exit(1)


threading.Thread(target=end_with_test, args=(os.environ["TRIONETCHAN_LIFELINE"],), daemon=True).start()
if "TRIONETCHAN_MEDDLING" in os.environ:
    runpy.run_path(os.environ["TRIONETCHAN_MEDDLING"])
