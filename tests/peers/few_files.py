"""An exporter, and an importer that finds no file descriptor left, in a process that may have few of them.

Prints its port; then, told to, what an importer of its own says while all descriptors are taken; then serves on.
"""

from __future__ import annotations

import logging
import os
import resource
import sys

import trio

from trionetchan import open_exporter, open_tcp_importer

ALLOWED = 40


async def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (ALLOWED, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    async with open_exporter() as exporter, trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(exporter.serve_tcp, 0)
        port = listeners[0].socket.getsockname()[1]
        send = exporter.open_send_channel("numbers", int)
        print(port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        taken: list[int] = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        try:
            async with open_tcp_importer("127.0.0.1", port):
                print("connected", flush=True)
        except OSError as error:
            print(error, flush=True)
        for file in taken:
            os.close(file)
        await send.send(1)
        send.close()
        await trio.sleep_forever()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    trio.run(main)
