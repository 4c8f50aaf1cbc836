"""`trionetchan` and `python -m trionetchan`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Runs the command line; returns the exit status: 1 if what it needs is not installed, 130 after Ctrl-C."""
    try:
        try:
            from ._cli.app import main as run
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in ("cyclopts", "rich"):
                raise
            sys.stderr.write('trionetchan: the command line is an extra; install it: pip install "trionetchan[cli]"\n')
            return 1
        return run()
    except KeyboardInterrupt:  # before trio runs, or after it
        return 130


if __name__ == "__main__":
    sys.exit(main())
