"""What either side says when TLS does not come about: who lacks what. All of it over real sockets."""

from __future__ import annotations

import functools
import logging
import ssl

import attrs
import pytest
import trio
import trio.testing
import trustme
from support import serve_tcp, until

from trionetchan import (
    ConnectionLostError,
    NetchanError,
    ProtocolError,
    open_exporter,
    open_importer,
    open_tcp_importer,
)
from trionetchan._network.transport import reason

AUTHORITY = trustme.CA()


def server_context(*, certificate: bool = True, require: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate:
        AUTHORITY.issue_cert("exporter.example").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    if require:
        context.verify_mode = ssl.CERT_REQUIRED
        AUTHORITY.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def client_context(authority: trustme.CA = AUTHORITY, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    if certificate is not None:
        certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def old_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@attrs.frozen
class Case:
    """Two contexts that do not meet, and what each side says then."""

    server: ssl.SSLContext | None
    client: ssl.SSLContext | None
    importer_says: str
    exporter_logs: str
    hostname: str = "exporter.example"
    error: type[NetchanError] = ConnectionLostError


# Of the bytes that came only the first two are looked for: the rest are random, and so is the quote that Python takes.
NOT_TLS = "bytes that are not TLS: the other side does not use TLS (no `ssl_context` there?) (SSLError: "
CASES = {
    "plain importer": Case(server_context(), None, r"\x15\x03", NOT_TLS, error=ProtocolError),
    "plain exporter": Case(None, client_context(), NOT_TLS, r"\x16\x03"),
    "certificate required": Case(
        server_context(require=True),
        client_context(),
        "a refusal: the other side requires a certificate, and this side sent none (`ssl_context.load_cert_chain`)",
        "no certificate from the other side, and this side requires one (SSLError: ",
    ),
    "certificate required, TLS 1.2": Case(
        old_tls(server_context(require=True)),
        client_context(),
        "a refusal: a certificate is missing on one of the sides, or no version or cipher is in common (SSLError: ",
        "no certificate from the other side, and this side requires one (SSLError: ",
    ),
    "importer of another authority": Case(
        server_context(require=True),
        client_context(certificate=trustme.CA().issue_cert("importer.example")),
        "a refusal: the other side does not know the authority of this side's certificate (SSLError: ",
        "a certificate of an authority that this side does not know (`ssl_context.load_verify_locations`) (SSLCert",
    ),
    "exporter of another authority": Case(
        server_context(),
        client_context(trustme.CA()),
        "a certificate of an authority that this side does not know (`ssl_context.load_verify_locations`) (SSLCert",
        "a refusal: the other side does not know the authority of this side's certificate (SSLError: ",
    ),
    "wrong name": Case(
        server_context(),
        client_context(),
        "a certificate for another name (`server_hostname=`) (SSLCertVerificationError: ",
        "a refusal: the other side does not accept this side's certificate (SSLError: ",
        hostname="other.example",
    ),
    "exporter without a certificate": Case(
        server_context(certificate=False),
        client_context(),
        "a refusal: a certificate is missing on one of the sides, or no version or cipher is in common (SSLError: ",
        "no cipher in common with the other side (has this side a certificate: `load_cert_chain`?) (SSLError: ",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_both_sides_say_what_is_missing(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=case.server)
        with pytest.raises(case.error) as caught:
            async with open_tcp_importer(
                "127.0.0.1", port, ssl_context=case.client, server_hostname=case.hostname
            ) as importer:
                await importer.open_receive_channel("jobs", int)
        await until(lambda: exporter.statistics().connections == 0)
    assert case.importer_says in str(caught.value)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert case.exporter_logs in caplog.messages[0]


async def test_the_words_of_the_ssl_module_are_kept(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=server_context())
        with pytest.raises(ConnectionLostError, match="certificate is not valid for 'other"):
            async with open_tcp_importer(
                "127.0.0.1", port, ssl_context=client_context(), server_hostname="other.example"
            ) as importer:
                await importer.open_receive_channel("jobs", int)


async def test_a_web_browser_at_a_tls_port_gets_an_alert(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=server_context())
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            answer = b"".join([chunk async for chunk in stream])
        await until(lambda: exporter.statistics().connections == 0)
    assert answer == bytes([21, 3, 3, 0, 2, 2, 70])
    assert NOT_TLS in caplog.messages[0]


async def test_an_alert_is_sent_for_a_stream_that_the_program_made(nursery: trio.Nursery) -> None:
    """The same over `serve_listeners` with trio's own listener."""
    async with open_exporter() as exporter:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        tls = trio.SSLListener(listener, server_context(require=True))
        await nursery.start(exporter.serve_listeners, [tls])
        plain = await trio.testing.open_stream_to_socket_listener(listener)
        stream = trio.SSLStream(plain, client_context(), server_hostname="exporter.example")
        with pytest.raises(ConnectionLostError, match="the other side requires a certificate"):
            async with open_importer(stream) as importer:
                await importer.open_receive_channel("jobs", int)


async def test_a_context_that_is_made_for_the_other_side_is_refused_at_once() -> None:
    async with open_exporter() as exporter:
        with pytest.raises(ValueError, match=r"for servers, got one for clients.*ssl\.Purpose\.CLIENT_AUTH"):
            await exporter.serve_tcp(0, ssl_context=client_context())
    with pytest.raises(ValueError, match=r"for clients, got one for servers.*create_default_context\(\)"):
        async with open_tcp_importer("127.0.0.1", 1, ssl_context=server_context()):
            raise AssertionError("entered")


async def test_a_context_for_both_sides_is_accepted(nursery: trio.Nursery) -> None:
    with pytest.warns(DeprecationWarning, match="PROTOCOL_TLS"):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS)
    AUTHORITY.issue_cert("exporter.example").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=server)
        opening = functools.partial(open_tcp_importer, "127.0.0.1", port, server_hostname="exporter.example")
        exporter.open_send_channel("jobs", int).close()
        async with opening(ssl_context=client_context()) as importer:
            assert [job async for job in await importer.open_receive_channel("jobs", int)] == []


def test_a_reason_is_the_cause_in_one_line() -> None:
    error = trio.BrokenResourceError()
    assert reason(error) == "BrokenResourceError"
    error.__cause__ = ConnectionResetError(104, "reset\nby the peer")
    assert reason(error) == r"ConnectionResetError: [Errno 104] reset\nby the peer"
    assert reason(ssl.SSLError("what OpenSSL says")) == "SSLError: ('what OpenSSL says',)"
