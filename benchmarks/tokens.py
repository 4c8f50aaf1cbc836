"""Whether the time that a token's check takes tells anything about the tokens.

    python -m benchmarks.tokens            each kind of wrong or right token, in random order, many times
    python -m benchmarks.tokens --quick    does it still work?

The check takes the same steps whatever is shown, which a test holds. What is left are some hundredths of a microsecond,
which depend on the caches of the processor; a connection over loopback alone varies by a thousand times as much. What
comes of the check, a principal or a refusal, is not timed: that everybody sees.
"""

from __future__ import annotations

import random
import secrets
import statistics
import sys
import time
from typing import Any

import cyclopts
import rich.box
import rich.console
import rich.table

from trionetchan._identity import TokenCheck

__all__ = ["main"]

ROUNDS = 20_000
TOKENS = 20
output = rich.console.Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)


def kinds(known: list[str]) -> dict[str, str]:
    """What is shown; each a text of its own, as one that comes over a connection is."""
    token = random.choice(known)
    return {
        "right, the first": "".join([*known[0]]),
        "right, the last": "".join([*known[-1]]),
        "wrong in the last character": "".join([*token[:-1], "~"]),
        "wrong in the first character": "".join(["~", *token[1:]]),
        "wrong in each character": "".join(["~"] * len(token)),
    }


def measure(rounds: int) -> dict[str, list[float]]:
    """How many seconds each check took."""
    known = [secrets.token_urlsafe() for _ in range(TOKENS)]
    check = TokenCheck({token: f"principal {number}" for number, token in enumerate(known)}, allow_plain=False)
    times: dict[str, list[float]] = {kind: [] for kind in kinds(known)}
    for _ in range(rounds):
        shown = [*kinds(known).items()]
        random.shuffle(shown)
        for kind, token in shown:
            began = time.perf_counter()
            check.whose(token)
            times[kind].append(time.perf_counter() - began)
    return times


def tokens(*, quick: bool = False) -> int:
    """Time the check of right and wrong tokens.

    Parameters
    ----------
    quick
        A few rounds: it shows that everything works, the numbers mean little.
    """
    times = measure(50 if quick else ROUNDS)
    table = rich.table.Table("shown", "median, µs", "quarter and three quarters, µs", box=rich.box.SIMPLE)
    for kind, each in times.items():
        low, middle, high = (1e6 * seconds for seconds in statistics.quantiles(each, n=4))
        table.add_row(kind, f"{middle:.2f}", f"{low:.2f}–{high:.2f}")
    output.print(table)
    return 0


def main() -> int:
    app = cyclopts.App(name="python -m benchmarks.tokens", help_format="plaintext", result_action="return_value")
    app.default(tokens)
    status: Any = app()
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
