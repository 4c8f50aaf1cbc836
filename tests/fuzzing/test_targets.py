"""The targets, tried with what hypothesis makes, with the corpus, and with faults that they must find."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import child_environment

from .building import one_of_each
from .corpus import load
from .mutation import lies
from .probes import probes
from .targets import NAMES, TARGETS, made, made_wrong

TOP = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
thorough = settings(
    derandomize=True,
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
each_target = pytest.mark.parametrize("name", NAMES)
PARTS = 4
LIARS = {"frames": 5, "session": 2, "schema": 5, "values": 20}
randoms = st.randoms(use_true_random=False)  # hypothesis chooses, and finds shorter inputs that fail, too


@each_target
def test_what_is_right_or_nearly(name: str) -> None:
    @settings(thorough, max_examples=max(1, EXAMPLES // 2))
    @given(randoms, st.integers(0, 2))
    def check(random: Random, changes: int) -> None:
        data = made(name, random)
        for _ in range(changes):
            data = made_wrong(name, random, data)
        TARGETS[name](data)

    check()


@each_target
def test_any_bytes(name: str) -> None:
    @thorough
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@each_target
def test_changed_inputs_of_the_corpus(name: str) -> None:
    corpus = load(name)

    @thorough
    @given(st.sampled_from(corpus), st.integers(0, 2**32))
    def check(data: bytes, seed: int) -> None:
        TARGETS[name](made_wrong(name, Random(seed), data))

    check()


@each_target
def test_the_corpus(name: str) -> None:
    corpus = load(name)
    assert len(corpus) > 50
    for data in corpus:
        try:
            TARGETS[name](data)
        except BaseException as error:
            error.add_note(data.hex())
            raise


@each_target
def test_each_length_that_lies(name: str) -> None:
    """Nothing is allotted for what is only said to come."""
    for number in range(LIARS[name]):
        data = made(name, Random(number))
        skipped = 0 if name in ("frames", "schema") else 1
        for wrong in lies(data[skipped:]):
            TARGETS[name](data[:skipped] + wrong)


def test_each_frame_with_lengths_that_lie() -> None:
    for frame in one_of_each():
        for wrong in lies(frame):
            TARGETS["frames"](wrong)
            TARGETS["frames"](wrong.removeprefix(wrong[:1]))


@pytest.mark.parametrize("part", range(PARTS))
def test_frames_around_what_is_right(part: int) -> None:
    """Which of them are right, the target knows; none may do more than it should."""
    for data in probes()[part::PARTS]:
        TARGETS["session"](data)


FOUND = {
    "a tuple of 16 of itself, whose text was written on four levels": (
        "schema",
        bytes([0x81, 0x91, 15, *bytes(16)]),
    ),
}


@pytest.mark.parametrize("found", FOUND)
def test_what_was_found(found: str) -> None:
    name, data = FOUND[found]
    TARGETS[name](data)


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in Path(__file__).with_name("corpus").iterdir()) < 300_000


@each_target
def test_a_short_search_with_atheris(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: it is in the extra `fuzz`, for Linux on x86-64")
    command = [sys.executable, "-m", "tests.fuzzing", name, "--seconds", "1", "--found", str(tmp_path)]
    with child_environment() as env:
        ran = subprocess.run(command, cwd=TOP, env=env, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Done " in ran.stderr
    assert not [*(tmp_path / "findings").iterdir()]
