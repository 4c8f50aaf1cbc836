"""Machines with cables between them, on this one: network namespaces of Linux, whose cables can be pulled.

A machine here is a network namespace without a name; it is there as long as its holder, a process that ends when the
test does, or the test run, however that ends. Nothing of it is seen outside, and no packet leaves it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import trio
from support import child_environment

__all__ = ["Cable", "Machine", "connect", "open_machine", "why_not"]

NOBODY = "02:00:00:00:00:99"  # a hardware address that nothing has


@attrs.frozen
class Machine:
    """A network namespace."""

    holder: int
    """The process that keeps it, by its id."""

    @property
    def within(self) -> list[str]:
        """The beginning of a command that runs its rest on this machine."""
        return ["nsenter", *self._user, f"--net=/proc/{self.holder}/ns/net", "--"]

    @property
    def beside(self) -> list[str]:
        """The same for one that makes another machine, to which a cable can be laid: who is not root has one user
        namespace, in which it is, for both."""
        return ["nsenter", *self._user, "--"] if self._user else []

    @property
    def _user(self) -> list[str]:
        return [] if os.getuid() == 0 else [f"--user=/proc/{self.holder}/ns/user", "--preserve-credentials"]

    async def ip(self, *arguments: str) -> None:
        """Runs `ip` on this machine."""
        await trio.run_process([*self.within, "ip", *arguments], capture_stderr=True)


@asynccontextmanager
async def open_machine(beside: Machine | None = None) -> AsyncGenerator[Machine]:
    """A machine without any cable. Cables can be laid between those that were opened beside the same one."""
    user = ["--user", "--map-root-user"] if beside is None and os.getuid() else []
    within = beside.beside if beside is not None else []
    command = [*within, "unshare", *user, "--net", "sh", "-c", "echo ready && exec cat"]
    with child_environment() as env:
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        assert process.stdin is not None
        assert process.stdout is not None
        async with process.stdin, process.stdout:
            try:
                if await process.stdout.receive_some() != b"ready\n":
                    raise OSError("no network namespace can be made here")
                yield Machine(process.pid)
            finally:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()


@attrs.frozen
class Cable:
    """Connects two machines; `address` and `other_address` are theirs. Whatever happens to it, neither is told."""

    machine: Machine
    address: str
    other: Machine
    other_address: str
    name: str

    async def pull(self, *, at_other: bool = False) -> None:
        """Pulls it at one end."""
        await (self.other if at_other else self.machine).ip("link", "set", self.name, "down")

    async def lose_packets(self) -> None:
        """From now on every packet is lost, in both directions, and each side believes that it was sent."""
        for machine, address in ((self.machine, self.other_address), (self.other, self.address)):
            await machine.ip("neigh", "replace", address, "lladdr", NOBODY, "dev", self.name, "nud", "permanent")

    async def mend(self) -> None:
        """It is as it was."""
        for machine, address in ((self.machine, self.other_address), (self.other, self.address)):
            await machine.ip("link", "set", self.name, "up")
            await machine.ip("neigh", "flush", "to", address, "dev", self.name, "nud", "permanent")


async def connect(machine: Machine, other: Machine, net: str) -> Cable:
    """Lays a cable; `net` is the beginning of both addresses, such as "192.0.2"."""
    cable = Cable(machine, f"{net}.1", other, f"{net}.2", f"cable{net.rpartition('.')[2]}")
    far_end = ["peer", "name", cable.name, "netns", str(other.holder)]
    await machine.ip("link", "add", cable.name, "type", "veth", *far_end)
    for each, address in ((machine, cable.address), (other, cable.other_address)):
        await each.ip("address", "add", f"{address}/24", "dev", cable.name)
        await each.ip("link", "set", cable.name, "up")
    return cable


def why_not() -> str | None:
    """Why there can be no machines here, if so."""
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"the program {program} is not here"

    async def attempt() -> None:
        async with open_machine() as one, open_machine(one) as other:
            await connect(one, other, "192.0.2")

    try:
        trio.run(attempt)
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.decode().strip()}"
    except OSError as error:
        return str(error)
    return None
