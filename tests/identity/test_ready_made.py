"""The ready-made checks, by themselves."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionetchan import (
    Authenticate,
    AuthenticationError,
    Certificate,
    Credentials,
    Direction,
    allow_certificates,
    any_of,
    name_patterns,
    same_user,
    tokens,
)
from trionetchan._identity import certificate_of

PLAIN = Credentials(address="somewhere")


def over_tls(token: str | None = None, *names: str) -> Credentials:
    certificate = Certificate(names=names, fingerprint="00") if names else None
    return Credentials(address="somewhere", token=token, certificate=certificate, confidential=True)


async def accepted(authenticate: Authenticate, credentials: Credentials) -> str | None:
    try:
        return await authenticate(credentials)
    except AuthenticationError:
        return None


KNOWN = {f"token {number}": f"principal {number}" for number in range(20)}
SHOWN = {
    "the first": "token 0",
    "the last": "token 19",
    "one character wrong at its end": "token 1x",
    "one character wrong at its beginning": "xoken 1",
    "nothing right": "-" * 7,
    "much shorter": "t",
    "much longer": "token 0" * 100,
    "none": None,
}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN.keys())
async def test_every_check_of_a_token_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch, shown: str | None) -> None:
    """As many comparisons, each in constant time of two digests, whatever is shown. Timed by `benchmarks.tokens`."""
    compared: list[tuple[int, int]] = []
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def count(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    authenticate = tokens(KNOWN)
    monkeypatch.setattr(hmac, "compare_digest", count)
    assert await accepted(authenticate, over_tls(shown)) == KNOWN.get(shown or "")
    assert compared == [(32, 32)] * len(KNOWN)


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(min_size=1)), st.none() | st.text(max_size=20))
async def test_tokens(principals: dict[str, str], shown: str | None) -> None:
    assert await accepted(tokens(principals), over_tls(shown)) == principals.get(shown or "")
    assert await accepted(tokens(principals), PLAIN) is None


def test_a_token_that_is_no_unicode() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        tokens({"\udc80": "somebody"})


@pytest.mark.parametrize(
    ("patterns", "names", "principal"),
    [
        (["worker.example"], ["worker.example"], "worker.example"),
        (["worker.example"], ["Worker.example"], None),
        (["worker.example"], ["worker.example.org", "a.worker.example"], None),
        (["*.example"], ["worker.example"], "worker.example"),
        (["*.example"], ["example", "worker.example.org"], None),
        (["b", "a"], ["a", "b"], "a"),
        (["spiffe://example/*"], ["dns.example", "spiffe://example/worker"], "spiffe://example/worker"),
        ([], ["anything"], "anything"),
        (["*"], [], None),
        ([], [], None),
    ],
)
async def test_certificates(patterns: list[str], names: list[str], principal: str | None) -> None:
    assert await accepted(allow_certificates(*patterns), over_tls(None, *names)) == principal
    assert await accepted(allow_certificates(*patterns), PLAIN) is None


def test_names_of_a_certificate() -> None:
    common = {"subject": ((("commonName", "common"),),)}
    both = {**common, "subjectAltName": (("URI", "spiffe://a"), ("email", "a@b"), ("DNS", "a"), ("IP Address", "::1"))}
    assert certificate_of(common, b"").names == ("common",)
    assert certificate_of(both, b"").names == ("a", "spiffe://a", "a@b")
    assert certificate_of({**common, "subjectAltName": (("IP Address", "::1"),)}, b"").names == ()
    assert certificate_of({}, b"").names == ()
    assert certificate_of(common, b"1").fingerprint != certificate_of(common, b"2").fingerprint


async def test_any_of_asks_in_order() -> None:
    first, second = tokens({"a": "first"}), tokens({"a": "second", "b": "second"})
    assert await accepted(any_of(first, second), over_tls("a")) == "first"
    assert await accepted(any_of(first, second), over_tls("b")) == "second"
    assert await accepted(any_of(first, second), over_tls("c")) is None
    assert await accepted(any_of(), over_tls("c")) is None
    assert await accepted(any_of(same_user()), over_tls("c")) is None


PATTERNS = name_patterns(
    {
        "*.workers": {"jobs": Direction.SEND, "results.*": Direction.RECEIVE, "both": None},
        "one.workers": {"special": Direction.SEND},
        "admin": {"*": None},
    }
)


@pytest.mark.parametrize(
    ("principal", "name", "allowed"),
    [
        ("a.workers", "jobs", {Direction.SEND}),
        ("a.workers", "Jobs", set[Direction]()),
        ("a.workers", "jobs2", set[Direction]()),
        ("a.workers", "results.a", {Direction.RECEIVE}),
        ("a.workers", "results", set[Direction]()),
        ("a.workers", "both", {*Direction}),
        ("a.workers", "special", set[Direction]()),
        ("one.workers", "special", {Direction.SEND}),
        ("one.workers", "jobs", {Direction.SEND}),
        ("workers", "jobs", set[Direction]()),
        ("admin", "anything at all", {*Direction}),
        ("administrator", "anything at all", set[Direction]()),
        ("", "jobs", set[Direction]()),
    ],
)
async def test_name_patterns(principal: str, name: str, allowed: set[Direction]) -> None:
    assert {direction for direction in Direction if await PATTERNS(principal, name, direction)} == allowed
