"""Addresses of exporters, and importers that are connected to them."""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, cast

import attrs
import trio
from cyclopts import Group, Parameter

from .._errors import (
    ChannelNameInUseError,
    ConnectionLostError,
    LimitError,
    NetchanError,
    NoSuchChannelError,
    PermissionDeniedError,
    TypeMismatchError,
    WrongDirectionError,
)
from .._importer import Importer, open_tcp_importer, open_unix_importer, open_websocket_importer
from .._limits import Limits
from .console import FAILED, NOT_THERE, WRONG_INPUT, Failure

__all__ = ["ADDRESS", "Address", "Options", "connected", "parse_address"]

ADDRESS = "HOST:PORT, unix:PATH, ws://HOST:PORT/ or wss://HOST:PORT/."
_NOT_THERE = (
    NoSuchChannelError,
    PermissionDeniedError,
    WrongDirectionError,
    TypeMismatchError,
    ChannelNameInUseError,
)
_CONNECTION = Group("Connection", sort_key=10)


@Parameter(name="*", group=_CONNECTION)
@attrs.frozen(kw_only=True)
class Options:
    """How to connect, and how to write."""

    tls: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Connect with TLS. So do the next four."""
    ca: Path | None = None
    """The certificates that are trusted (PEM); those of the system unless given."""
    cert: Path | None = None
    """This side's certificate (PEM), and its key unless there is --key."""
    key: Path | None = None
    """The key of --cert (PEM)."""
    server_name: str | None = None
    """The name that the exporter's certificate must have; HOST unless given."""
    token_file: Path | None = None
    """A file with the token that the exporter asks for; else the environment variable TRIONETCHAN_TOKEN has it."""
    timeout: float = 10
    """Seconds until the exporter must have been reached."""
    json: Annotated[bool, Parameter(negative="", show_default=False, group="Parameters")] = False
    """Write lines of JSON, for programs."""

    @property
    def uses_tls(self) -> bool:
        return self.tls or any((self.ca, self.cert, self.key, self.server_name))


@attrs.frozen
class Address:
    """Where an exporter is: `kind` is tcp, unix, ws or wss."""

    kind: str
    host: str
    """A path, or a URL, for the other kinds."""
    port: int = 0


def parse_address(text: str) -> Address:
    """`Failure` for what is none."""
    kind, colon, rest = text.partition(":")
    if kind == "unix" and colon and rest:
        return Address("unix", rest)
    if kind in ("ws", "wss") and rest.startswith("//"):
        return Address(kind, text)
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise Failure(f"expected an address ({ADDRESS.removesuffix('.')}), got {text}", WRONG_INPUT)
    return Address("tcp", host, int(port))


@asynccontextmanager
async def connected(address: str, options: Options, *, resume: float = 30) -> AsyncGenerator[Importer]:
    """An importer of the exporter there. What keeps it from going on is a `Failure`.

    `resume`: for how many seconds a broken connection is to be made again.
    """
    opening = _opening(parse_address(address), options, Limits(resume_timeout=resume))
    try:
        with trio.move_on_after(options.timeout) as reaching:
            async with opening as importer:
                reaching.deadline = math.inf
                yield importer
        if reaching.cancelled_caught:
            raise Failure(f"{address}: expected to reach the exporter within {options.timeout:g} s")
    except (ConnectionLostError, LimitError) as error:
        raise Failure(f"{address}: {error}", FAILED) from None
    except _NOT_THERE as error:
        raise Failure(str(error), NOT_THERE) from None
    except (NetchanError, OSError, ssl.SSLError) as error:
        raise Failure(f"{address}: {_with_cause(error)}") from None


def _with_cause(error: BaseException) -> str:
    """Trio says that all attempts failed, and has why behind it."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cast("BaseExceptionGroup[BaseException]", cause).exceptions[0]
    return str(error) if cause is None or str(cause) in str(error) else f"{error}: {cause}"


def _opening(address: Address, options: Options, limits: Limits) -> AbstractAsyncContextManager[Importer]:
    token = _token(options)
    if address.kind == "unix":
        if options.uses_tls:
            raise Failure("TLS is for HOST:PORT and wss:// addresses, not for unix sockets", WRONG_INPUT)
        return open_unix_importer(address.host, token=token, limits=limits)
    if address.kind in ("ws", "wss"):
        if options.server_name is not None or (options.uses_tls and address.kind == "ws"):
            raise Failure("a WebSocket has TLS by wss://, and the name of its URL", WRONG_INPUT)
        _check_may_show(token, tls=address.kind == "wss")
        context = _ssl_context(options) if address.kind == "wss" else None
        return open_websocket_importer(address.host, ssl_context=context, token=token, limits=limits)
    _check_may_show(token, tls=options.uses_tls)
    return open_tcp_importer(
        address.host,
        address.port,
        ssl_context=_ssl_context(options) if options.uses_tls else None,
        server_hostname=options.server_name,
        token=token,
        limits=limits,
    )


def _check_may_show(token: str | None, *, tls: bool) -> None:
    if token is not None and not tls:
        raise Failure("a token is shown over TLS and unix sockets only, where nobody else can read it", WRONG_INPUT)


def _ssl_context(options: Options) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca)
        if options.cert is not None:
            context.load_cert_chain(options.cert, options.key)
        elif options.key is not None:
            raise Failure("--key is the key of --cert, which is not there", WRONG_INPUT)
    except OSError as error:
        files = ", ".join(str(file) for file in (options.ca, options.cert, options.key) if file is not None)
        raise Failure(f"cannot read certificates or keys from {files}: {error}", WRONG_INPUT) from None
    return context


def _token(options: Options) -> str | None:
    """The token, without the end of its line."""
    if options.token_file is None:
        return os.environ.get("TRIONETCHAN_TOKEN") or None
    try:
        token = options.token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read the token: {error}", WRONG_INPUT) from None
    if not token:
        raise Failure(f"cannot read the token: {options.token_file} is empty", WRONG_INPUT)
    return token
