"""Who may resume a session: proofs, epochs, and what cannot be used twice."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from vectors import Vector, content, vectors

from trionetchan._protocol.resuming import ID_SIZE, NONCE_SIZE, PROOF_SIZE, SECRET_SIZE, Nonces, SessionKey

ID, SECRET = bytes(range(16)), bytes(range(32))


def nonces(number: int) -> Nonces:
    return Nonces(bytes([number]) * 16, bytes([128 + number]) * 16)


def pair(session_id: bytes = ID, secret: bytes = SECRET) -> tuple[SessionKey, SessionKey]:
    """The importer's and the exporter's."""
    return SessionKey(session_id, secret), SessionKey(session_id, secret)


def resume(importer: SessionKey, exporter: SessionKey, number: int, *, told: bool = True) -> None:
    """A resume that goes well; whether the importer hears of it."""
    both = nonces(number)
    assert exporter.check_importer(importer.epoch, importer.importer_proof(both), both)
    proof = exporter.exporter_proof(both)
    exporter.begin_epoch(both)
    if told:
        assert importer.check_exporter(proof, both)
        importer.begin_epoch(both)
        importer.confirm()


def test_sizes_are_those_of_the_specification() -> None:
    assert (ID_SIZE, NONCE_SIZE, SECRET_SIZE, PROOF_SIZE) == (16, 16, 32, 32)
    assert len(SessionKey(ID, SECRET).importer_proof(nonces(1))) == PROOF_SIZE


def test_a_proof_byte_by_byte() -> None:
    """As the specification says it, once more and without the code."""
    both = nonces(1)
    text = b"\0" + ID + bytes(8) + both.importer + both.exporter

    def proof(purpose: bytes, secret: bytes = SECRET) -> bytes:
        return hmac.new(secret, b"trionetchan resume 1 " + purpose + text, hashlib.sha256).digest()

    key = SessionKey(ID, SECRET)
    assert key.importer_proof(both) == proof(b"importer")
    assert key.exporter_proof(both) == proof(b"exporter")
    key.begin_epoch(both)
    key.confirm()
    assert (key.epoch, key.secret) == (1, proof(b"next"))


@vectors("proofs")
def test_proofs_of_the_vectors(vector: Vector) -> None:
    key = SessionKey(content(vector, "session"), content(vector, "secret"))
    for number, step in enumerate(vector["resumes"]):
        both = Nonces(content(step, "importer_nonce"), content(step, "exporter_nonce"))
        assert key.epoch == step["epoch"] == number
        assert key.importer_proof(both) == content(step, "importer_proof")
        assert key.check_importer(number, content(step, "importer_proof"), both)
        assert key.exporter_proof(both) == content(step, "exporter_proof")
        assert key.check_exporter(content(step, "exporter_proof"), both)
        key.begin_epoch(both)
        key.confirm()
        assert key.secret == content(step, "next_secret")


def test_epochs_go_up_together_with_a_new_secret_each() -> None:
    importer, exporter = pair()
    seen = {importer.secret}
    for number in range(1, 6):
        resume(importer, exporter, number)
        assert importer.epoch == number
        seen.add(importer.secret)
    exporter.confirm()
    assert (exporter.epoch, exporter.secret) == (importer.epoch, importer.secret)
    assert len(seen) == 6


def test_an_importer_that_was_not_told_of_resumes_proves_with_the_last_epoch() -> None:
    importer, exporter = pair()
    for number in range(1, 4):
        resume(importer, exporter, number, told=False)
        assert importer.epoch == exporter.epoch == 0
    resume(importer, exporter, 4)
    resume(importer, exporter, 5, told=False)
    resume(importer, exporter, 6)
    exporter.confirm()
    assert (exporter.epoch, exporter.secret) == (importer.epoch, importer.secret) == (2, importer.secret)


def test_the_last_epoch_is_over_once_the_importer_says_anything() -> None:
    importer, exporter = pair()
    resume(importer, exporter, 1, told=False)
    exporter.confirm()
    both = nonces(2)
    assert not exporter.check_importer(0, importer.importer_proof(both), both)
    assert exporter.epoch == 1


def test_the_last_epoch_is_over_once_the_importer_proves_with_the_next() -> None:
    importer, exporter = pair()
    old = SessionKey(ID, SECRET)
    resume(importer, exporter, 1)
    both = nonces(2)
    assert exporter.check_importer(1, importer.importer_proof(both), both)  # this stream breaks before it goes on
    assert not exporter.check_importer(0, old.importer_proof(both), both)
    assert exporter.check_importer(1, importer.importer_proof(both), both)


def test_what_is_confirmed_already_stays_as_it_is() -> None:
    importer, exporter = pair()
    resume(importer, exporter, 1)
    for _ in range(2):
        exporter.confirm()
        assert (exporter.epoch, exporter.secret) == (importer.epoch, importer.secret) == (1, importer.secret)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_fault_68_a_replayed_proof_is_refused(epoch: int) -> None:
    """The exporter's nonce is another on each stream, whatever the importer's is."""
    importer, exporter = pair()
    first = nonces(1)
    replayed = importer.importer_proof(first)
    assert exporter.check_importer(0, replayed, first)
    exporter.begin_epoch(first)
    again = Nonces(first.importer, nonces(2).exporter)
    assert not exporter.check_importer(epoch, replayed, again)
    resume(importer, exporter, 3)  # and nothing has changed by that


def test_fault_54_a_proof_of_an_old_epoch_is_refused() -> None:
    importer, exporter = pair()
    old = SessionKey(ID, SECRET)
    for number in range(1, 4):
        resume(importer, exporter, number)
    both = nonces(4)
    for epoch in 0, 1, 4, 2**62:
        assert not exporter.check_importer(epoch, old.importer_proof(both), both)
    assert not exporter.check_importer(3, old.importer_proof(both), both)
    assert exporter.check_importer(3, importer.importer_proof(both), both)


def test_fault_67_without_the_secret_there_is_no_proof() -> None:
    importer, exporter = pair()
    thief = SessionKey(ID, bytes(32))
    both = nonces(1)
    right = importer.importer_proof(both)
    wrong = [thief.importer_proof(both), b"", right[:-1], right + b"\0", bytes(32), bytes([right[0] ^ 1]) + right[1:]]
    for proof in wrong:
        assert not exporter.check_importer(0, proof, both)
    assert exporter.check_importer(0, right, both)


def test_proofs_are_of_one_session_one_role_and_both_nonces() -> None:
    importer, exporter = pair()
    other, _ = pair(session_id=bytes(16))
    both = nonces(1)
    swapped = Nonces(both.exporter, both.importer)
    assert not exporter.check_importer(0, other.importer_proof(both), both)
    assert not exporter.check_importer(0, importer.importer_proof(swapped), both)
    assert not exporter.check_importer(0, importer.exporter_proof(both), both)
    assert not importer.check_exporter(importer.importer_proof(both), both)  # what it said itself, sent back
    assert not importer.check_exporter(exporter.exporter_proof(nonces(2)), both)
    assert importer.check_exporter(exporter.exporter_proof(both), both)


def test_what_is_refused_changes_nothing() -> None:
    importer, exporter = pair()
    resume(importer, exporter, 1, told=False)
    for number in range(2, 6):
        assert not exporter.check_importer(number % 3, bytes(32), nonces(number))
    resume(importer, exporter, 7, told=False)
    resume(importer, exporter, 8)


def test_fault_69_of_two_resumes_at_once_one_wins() -> None:
    """Both have proofs for the same epoch; the first takes the session over until the second does, never both."""
    importer, exporter = pair()
    first, second = nonces(1), nonces(2)
    proofs = importer.importer_proof(first), importer.importer_proof(second)
    assert exporter.check_importer(0, proofs[0], first)
    answers = [exporter.exporter_proof(first)]
    exporter.begin_epoch(first)
    assert exporter.check_importer(0, proofs[1], second)
    answers.append(exporter.exporter_proof(second))
    exporter.begin_epoch(second)
    assert importer.check_exporter(answers[1], second)  # the stream that it has kept
    assert not importer.check_exporter(answers[0], second)
    importer.begin_epoch(second)
    importer.confirm()
    resume(importer, exporter, 3)
