"""Receives one integer of "jobs", and kills itself before it does anything with it: PORT WINDOW COUNT (0: none)."""

from __future__ import annotations

import os
import signal
import sys

import trio

from trionetchan import Limits, open_tcp_importer


async def main(port: int, window: int, count: int) -> None:
    async with open_tcp_importer("127.0.0.1", port, limits=Limits(resume_timeout=0)) as importer:
        receive = await importer.open_receive_channel("jobs", int, window=window, count=count or None)
        print("bound", flush=True)
        await receive.receive()
        os.kill(os.getpid(), signal.SIGKILL)


trio.run(main, int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
