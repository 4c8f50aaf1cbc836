"""Wire cases 38, 61 to 65 and 73 where the exporter asks who is there: for who is not accepted, nothing is done."""

from __future__ import annotations

import datetime
import os
from typing import Any

import trio
from cases import Case, broken, cut_off, ignored, late, refused, suspended
from raw_peer import BEGINS, RESUMES, SECRET, Act, RawPeer, data, hello, import_, ping
from second_frames import ACCEPT, DATA, GOODBYE, HELLO, MAGIC, REJECT, RESUMED, Field, Parameters
from second_session import encode
from server import AUTHORITY, Server, client_context
from steps import again, frame_of, goes_back, hears, resumes, waits
from tls_cases import truncates, without_tls

from trionetchan import (
    Authenticate,
    AuthenticationError,
    Credentials,
    Direction,
    Limits,
    allow_certificates,
    any_of,
    name_patterns,
    tokens,
)

__all__ = ["IDENTITY_CASES"]

NOT_ACCEPTED = "expected an importer that this exporter knows, got one that it does not accept"
NO_ANSWER = "expected to know who this is within 0.5 s, got no answer"
TOO_MUCH = "expected a hello within 65536 bytes, got more without one"
NO_HELLO = "expected a hello within 0.5 s, got none"
LOST = "expected a session that can be resumed, got one that is not here"
GOT = "expected a goodbye, got: "
QUICK = Limits(handshake_timeout=0.5, goodbye_timeout=0.1)
HASTY = Limits(goodbye_timeout=0.1)
WANTS = (import_(0, "jobs"), import_(1, "ints", receives=False), data(1, 0, 1, 2, 3), import_(2, "unknown"))
WORKERS = allow_certificates("healthy.example", "first.example")
HEALTHY = tokens({"healthy": "healthy"}, allow_plain=True)
FIRST = tokens({"first": "first", "first, too": "first", "second": "second"})
BY_TOKEN = any_of(HEALTHY, FIRST)
TAKES_OVER = again(keeps=True)


# How they connect


async def as_second(server: Server) -> trio.abc.Stream:
    """With a certificate of the right authority, and a name that is not allowed."""
    return await server.dial(client_context("second"))


async def by_common_name(server: Server) -> trio.abc.Stream:
    return await server.dial(client_context(AUTHORITY.issue_cert("other.example", common_name="first.example")))


async def out_of_date(server: Server) -> trio.abc.Stream:
    past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    issued = AUTHORITY.issue_cert("first.example", not_before=past, not_after=past + datetime.timedelta(days=1))
    return await server.dial(client_context(issued))


def shows(token: bytes | None, parameters: Parameters | None = None) -> bytes:
    said = dict(parameters or {})
    return hello(1, said if token is None else said | {"token": token})


# How the exporter asks


async def slowly(credentials: Credentials) -> str | None:
    """Refuses all but the healthy one, and takes its time."""
    if credentials.token != "healthy":
        await trio.sleep(0.05)
        return None
    return "healthy"


async def never(credentials: Credentials) -> str | None:
    """Answers for the healthy one only."""
    if credentials.token != "healthy":
        await trio.sleep_forever()
    return "healthy"


def user(uid: int) -> Authenticate:
    """The healthy one, and whoever runs as this user."""

    async def authenticate(credentials: Credentials) -> str | None:
        if credentials.token == "healthy":
            return "healthy"
        if credentials.unix_user is None or credentials.unix_user.uid != uid:
            raise AuthenticationError(f"expected the user {uid}, got {credentials.unix_user}")
        return f"uid {uid}"

    return authenticate


JOBS_ONLY = name_patterns({"healthy": {"*": None}, "first": {"jobs": Direction.SEND, "ints": Direction.RECEIVE}})


# What they do


def connects_and_resumes(token: bytes | None = None, **how: Any) -> Act:
    """On another stream, with another certificate or token, it resumes the session of the first."""

    async def step(peer: RawPeer) -> None:
        dial: Any = peer.dial
        stream = await (dial(client_context(how["certificate"])) if "certificate" in how else dial())
        peer.go_on_with(stream)
        await peer.say(shows(token, RESUMES))
        await peer.hear(HELLO)
        await resumes(seen=how.get("seen", 0), key=how.get("key", SECRET))(peer)

    return step


def begins_with_its_id(token: bytes | None = None) -> Act:
    """Another importer begins a session with the id of one that lives."""

    async def step(peer: RawPeer) -> None:
        await peer.connect()
        await peer.say(shows(token, BEGINS | {"secret": bytes(32)}))
        await peer.hear(HELLO)

    return step


async def goes_on(peer: RawPeer) -> None:
    """Its session is as it was: it has what it had, and is answered."""
    await peer.say(import_(0, "jobs"))
    await peer.hear(DATA)


async def hears_the_same_words(peer: RawPeer) -> None:
    """Of channels that there are, of one that was hung up, and of one that there never was, in each direction."""
    peer.exporter.open_send_channel("gone", int)
    peer.exporter.hangup("gone")
    for receives in (True, False):
        answers: set[tuple[Field, str]] = set()
        for name in ("down", "up", "gone", "none"):
            await peer.say(import_(peer_next(peer), name, receives=receives))
            _, code, message = await peer.hear(REJECT)
            assert isinstance(message, str)
            answers.add((code, message.replace(name, "…")))
        assert len(answers) == 1


def peer_next(peer: RawPeer) -> int:
    """The next channel's id: one more than answers have come."""
    return sum(kind in (ACCEPT, REJECT) for kind, _ in peer.heard)


def floods_the_hello(size: int, written: int) -> Act:
    """Begins a hello of so many bytes, and writes so many of them."""

    async def step(peer: RawPeer) -> None:
        whole = MAGIC + frame_of(b"\x00", b"\x01", b"\xa1\x61x" + encode(bytes(size)))
        await peer.say(whole[:written])

    return step


async def pings_and_does_not_resume(peer: RawPeer) -> None:
    """70,000 bytes of pings with a long field behind the token, where a RESUME should come."""
    await peer.hear(HELLO)
    await peer.say(frame_of(b"\x08", b"\x01", encode(bytes(10_000))) * 7)


def not_accepted(number: str, does: str, *steps: Any, **more: Any) -> Case:
    """It is not accepted, and whatever it lets follow its hello is not looked at."""
    options: dict[str, Any] = {"hello": False, "refused": 1, "says": NOT_ACCEPTED, "limits": HASTY, **more}
    return broken(number, does, *steps, *WANTS, code="UNAUTHENTICATED", **options)


def by_certificate(number: str, does: str, *steps: Any, **more: Any) -> Case:
    options: dict[str, Any] = {"transport": "mutual tls", "authenticate": WORKERS, "dial": as_second, **more}
    return not_accepted(number, does, *steps, **options)


def by_token(number: str, does: str, *steps: Any, **more: Any) -> Case:
    options: dict[str, Any] = {"transport": "tls", "authenticate": BY_TOKEN, "token": "healthy", **more}
    return not_accepted(number, does, *steps, **options)


def malformed(number: str, does: str, item: bytes, says: str) -> Case:
    """A hello with this item for a token."""
    said = MAGIC + frame_of(b"\x00", b"\x01", b"\xa1\x65token" + item)
    options: dict[str, Any] = {
        "transport": "tls",
        "authenticate": BY_TOKEN,
        "token": "healthy",
        "hello": False,
        "limits": HASTY,
    }
    return broken(number, does, said, *WANTS, says=says, **options)


def untouched(number: str, does: str, *steps: Any, code: str = "SESSION_LOST", says: str = LOST, **more: Any) -> Case:
    """The stream is refused; the session that it would have, or would end, goes on on the stream that it has."""
    steps = (*steps, hears(GOODBYE), goes_back, goes_on)
    return refused(number, does, *steps, kind="GOODBYE", code=code, says=says, hello=False, **more)


CERTIFIED: dict[str, Any] = {"transport": "mutual tls", "authenticate": WORKERS}
WITH_TOKENS: dict[str, Any] = {"transport": "tls", "authenticate": BY_TOKEN, "token": "healthy"}
BEGUN = (hello(1, BEGINS), hears(HELLO), waits)
BEGUN_AS_FIRST = (shows(b"first", BEGINS), hears(HELLO), waits)
BROKE = "the connection with … broke, its session waits 30 s for another: …"

IDENTITY_CASES: list[Case] = [
    by_certificate("61c", "has a certificate of a name that is not allowed, and asks for channels at once", hello()),
    by_certificate(
        "61d", "the same, and it begins a session that can be resumed", hello(1, BEGINS), then_goes_back=False
    ),
    by_certificate(
        "61e",
        "has a certificate whose common name would be right, and its other name is not",
        hello(),
        dial=by_common_name,
    ),
    cut_off(
        "61f",
        "has a certificate that is out of date",
        hello(),
        *WANTS,
        says=GOT + "…certificate…expired…",
        dial=out_of_date,
        hello=False,
        **CERTIFIED,
    ),
    by_token("61g", "shows a wrong token, and asks for channels at once", shows(b"wrong")),
    by_token("61h", "shows no token", shows(None)),
    by_token("61i", "shows the beginning of a right token", shows(b"firs")),
    by_token("61j", "shows a right token and one byte more", shows(b"first\x00")),
    by_token("61k", "shows a right token in other letters", shows(b"FIRST")),
    by_token("61l", "shows a token of 1,024 bytes", shows(b"first" + bytes(1019))),
    by_token("61m", "shows a token that is no UTF-8", shows(b"\xff\xfe")),
    by_token("61n", "shows a right token over a stream that others may read", shows(b"first"), transport="tcp"),
    by_token("61o", "begins a session that can be resumed, with a wrong token", shows(b"wrong", BEGINS)),
    by_token(
        "61p",
        "asks for channels at once, where the exporter takes its time to refuse it",
        shows(b"wrong"),
        authenticate=slowly,
    ),
    by_token(
        "61q",
        "asks for channels at once, where the exporter does not know who it is in time",
        shows(b"wrong"),
        authenticate=never,
        says=NO_ANSWER,
        limits=QUICK,
        transport="tcp",
    ),
    malformed("61r", "shows a token of no bytes", b"\x40", "expected a token of 1 to 1024 bytes, got 0"),
    malformed(
        "61s", "shows a token of 1,025 bytes", encode(bytes(1025)), "expected a token of 1 to 1024 bytes, got 1025"
    ),
    malformed("61t", "shows a token that is a text", b"\x65first", "expected a byte string, got the byte 0x65"),
    malformed("61u", "claims a token of 2^60 bytes", b"\x5b\x10" + bytes(7), "…"),
    ignored("61v", "shows a right token", shows(b"first"), import_(0, "jobs"), hears(DATA), hello=False, **WITH_TOKENS),
    ignored("61w", "shows a token to an exporter that does not ask", shows(b"first"), hears(HELLO), hello=False),
    broken(
        "61x",
        "writes 70,000 bytes of a hello",
        floods_the_hello(100_000, 70_000),
        says=TOO_MUCH,
        hello=False,
        limits=HASTY,
        **WITH_TOKENS,
    ),
    broken(
        "61y",
        "writes 70,000 bytes of a hello to an exporter that does not ask",
        floods_the_hello(100_000, 70_000),
        says=TOO_MUCH,
        hello=False,
    ),
    broken(
        "61z",
        "writes 70,000 bytes of pings where a RESUME should come",
        shows(b"first", RESUMES),
        pings_and_does_not_resume,
        says=TOO_MUCH,
        hello=False,
        limits=HASTY,
        **WITH_TOKENS,
    ),
    late(
        "62c",
        "says nothing when the handshake of TLS is done",
        MAGIC,
        says=NO_HELLO,
        limits=QUICK,
        hello=False,
        **CERTIFIED,
    ),
    late(
        "62d",
        "says hello, and does not resume the session that it names",
        shows(b"first", RESUMES),
        says=NO_HELLO,
        limits=QUICK,
        hello=False,
        **WITH_TOKENS,
    ),
    late(
        "62e",
        "stays silent over a unix socket",
        says=NO_HELLO,
        log="the connection with a unix socket ended: " + NO_HELLO,
        limits=QUICK,
        hello=False,
        transport="unix",
        authenticate=user(os.geteuid()),
        token="healthy",
    ),
    suspended(
        "63c",
        "ends the connection without the goodbye of TLS, before its hello is complete",
        shows(b"first")[:9],
        hears(HELLO),
        truncates,
        says=GOT + "the end of the stream, without the goodbye of TLS …",
        hello=False,
        resumable=False,
        **WITH_TOKENS,
    ),
    cut_off(
        "64d",
        "writes plain text where its certificate is expected",
        hello(),
        dial=without_tls,
        says=GOT + "bytes that are not TLS: …",
        hello=False,
        **CERTIFIED,
    ),
    not_accepted(
        "65b",
        "runs as another user than the exporter allows, over a unix socket",
        hello(),
        transport="unix",
        authenticate=user(os.geteuid() + 1),
        token="healthy",
        log="the connection with a unix socket ended: " + NOT_ACCEPTED,
    ),
    ignored(
        "65c",
        "runs as the user that the exporter allows",
        hello(),
        import_(0, "jobs"),
        hears(DATA),
        transport="unix",
        authenticate=user(os.geteuid()),
        token="healthy",
        hello=False,
    ),
    untouched(
        "73b",
        "resumes with the right proof, and the certificate of another principal",
        *BEGUN,
        connects_and_resumes(certificate="second"),
        transport="mutual tls",
        authenticate=allow_certificates(),
    ),
    untouched(
        "73c",
        "resumes with the right proof, and the token of another principal",
        *BEGUN_AS_FIRST,
        connects_and_resumes(b"second"),
        **WITH_TOKENS,
    ),
    untouched(
        "73d",
        "resumes with the right proof, and a certificate that is not accepted",
        *BEGUN,
        connects_and_resumes(certificate="second"),
        code="UNAUTHENTICATED",
        says=NOT_ACCEPTED,
        refused=1,
        log=f"…{NOT_ACCEPTED}",
        **CERTIFIED,
    ),
    untouched(
        "73e",
        "resumes as the right principal, with a wrong proof",
        *BEGUN_AS_FIRST,
        connects_and_resumes(b"first", key=bytes(32)),
        **WITH_TOKENS,
    ),
    untouched(
        "73f",
        "begins a session, as another principal, with the id of one that lives",
        *BEGUN_AS_FIRST,
        begins_with_its_id(b"second"),
        code="PROTOCOL_ERROR",
        says="expected an id for the session that is its own, got one in use",
        log="the connection with … ended: expected an id for the session that is its own, got one in use",
        **WITH_TOKENS,
    ),
    ignored(
        "73g",
        "resumes as the same principal, with a new certificate",
        *BEGUN,
        *WANTS[:1],
        hears(DATA),
        connects_and_resumes(certificate=AUTHORITY.issue_cert("first.example"), seen=1),
        hears(RESUMED),
        hello=False,
        **CERTIFIED,
    ),
    ignored(
        "73h",
        "resumes as the same principal, with another token of it",
        *BEGUN_AS_FIRST,
        connects_and_resumes(b"first, too"),
        hears(RESUMED),
        hello=False,
        **WITH_TOKENS,
    ),
    refused(
        "38x",
        "asks for a name that it may not bind",
        shows(b"first"),
        hears(HELLO),
        import_(0, "down"),
        hears(REJECT),
        code="PERMISSION_DENIED",
        says="down: expected a name that this importer may receive from, got one that it may not",
        denied=1,
        authorize=JOBS_ONLY,
        hello=False,
        **WITH_TOKENS,
    ),
    refused(
        "38y",
        "asks for names that there are, that there were and that there are not: it may bind none, and hears the same",
        shows(b"first"),
        hears(HELLO),
        hears_the_same_words,
        code="PERMISSION_DENIED",
        says="down: expected a name that this importer may receive from, got one that it may not",
        denied=8,
        authorize=JOBS_ONLY,
        hello=False,
        **WITH_TOKENS,
    ),
    broken(
        "38z",
        "goes on asking for names that it may not bind",
        shows(b"first"),
        hears(HELLO),
        *(import_(number, f"name {number}") for number in range(11)),
        hears(*[REJECT] * 11),
        ping(),
        code="LIMIT",
        says="expected at most 10 refused imports and values, got more (max_refusals)",
        limit="max_refusals",
        denied=11,
        authorize=JOBS_ONLY,
        hello=False,
        **WITH_TOKENS,
    ),
]
