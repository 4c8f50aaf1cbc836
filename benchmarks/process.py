"""One measuring process: `python -m benchmarks.process ROLE PEER WORK`. The runner starts these.

A server prints its port, works, and prints its sample when a line comes in; a client reads the port from its standard
input. Whatever comes out is a line of JSON.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from typing import Any

import attrs

from .measure import Client, Sample, Server, UnableError
from .work import Work

__all__ = ["main"]


def main(role: str, module: str, text: str) -> None:
    work = Work.from_json(text)
    try:
        peer: Any = importlib.import_module(module)
        gc.collect()  # of what the imports left; it stays switched on for all
        if hasattr(peer, "become"):
            peer.become(role, work)  # does not return
        if role == "serve":
            server = Server(work)
            peer.serve(server)
            sample = server.sample()
        else:
            port = int(sys.stdin.readline()) if role == "connect" else 0
            sample = peer.connect(Client(work, port))
            assert isinstance(sample, Sample)
    except UnableError as error:
        print(json.dumps({"unable": str(error)}), flush=True)
    else:
        print(json.dumps(attrs.asdict(sample)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
