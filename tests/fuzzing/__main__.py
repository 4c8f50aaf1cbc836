"""Fuzzing by hand: see CONTRIBUTING.md, "Fuzzing".

python -m tests.fuzzing frames|session|schema|values [--seconds 60]   searches, guided by coverage, with atheris
python -m tests.fuzzing minimise                                      makes the corpus of what was found
python -m tests.fuzzing malformed [--first 0] [--count 100000]        malformed frames against sessions
python -m tests.fuzzing run FILE …                                    runs findings, named after their target
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

FOUND = Path(".fuzzing")  # what searches leave: inputs that reach something new, and findings
NAMES = ["frames", "session", "schema", "values"]
MISSING = "atheris is not installed (pip install -e '.[fuzz]'; it has wheels for Linux on x86-64)"
READERS = ["_protocol", "_codec", "_batch", "_cbor", "_errors"]  # what reads bytes of a peer, and is watched
MAX_LENGTH = 4096  # bytes of an input
_START = 300  # inputs that are made where there is no corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*NAMES, "minimise", "malformed", "run"])
    parser.add_argument("files", nargs="*", type=Path, help="findings to run; or targets to minimise, instead of all")
    parser.add_argument("--seconds", type=int, default=60, help="how long to search, or to minimise each corpus")
    parser.add_argument("--seed", type=int, default=0, help="another one searches in another order; 0: by chance")
    parser.add_argument("--found", type=Path, default=FOUND, help="the directory for what is found")
    parser.add_argument("--first", type=int, default=0, help="the number of the first malformed frame")
    parser.add_argument("--count", type=int, default=100_000, help="how many malformed frames")
    chosen = parser.parse_args()
    match chosen.what:
        case "minimise":
            _minimise(chosen.found, [str(name) for name in chosen.files], chosen.seconds)
        case "malformed":
            _malformed(chosen.first, chosen.count)
        case "run":
            _run(chosen.files)
        case name:
            _search(name, chosen.found, chosen.seconds, chosen.seed)


def _search(name: str, found: Path, seconds: int, seed: int) -> None:
    """Ends the process, with an error if there was a finding."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit(MISSING)
    with atheris.instrument_imports(include=[f"trionetchan.{room}" for room in READERS]):
        targets: Any = importlib.import_module(".targets", __package__)
    corpus: Any = importlib.import_module(".corpus", __package__)
    inputs, findings = found / name, found / "findings"
    inputs.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    made = [targets.made(name, Random(number)) for number in range(_START)]
    for data in corpus.load(name) + made:
        (inputs / hashlib.sha1(data).hexdigest()).write_bytes(data)

    def target(data: bytes) -> None:
        try:
            targets.TARGETS[name](data)
        except BaseException:
            _write_finding(findings, name, data)
            raise

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.3:
            return bytes(atheris.Mutate(data, max_size))
        return bytes(targets.made_wrong(name, random, data)[:max_size])

    limits = [f"-max_len={MAX_LENGTH}", "-timeout=20", "-rss_limit_mb=1500"]
    options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={findings}/{name}-", *limits]
    atheris.Setup([sys.argv[0], *options, str(inputs)], target, custom_mutator=mutate)
    atheris.Fuzz()


def _write_finding(findings: Path, name: str, data: bytes) -> None:
    """The input, and beside it what it leads to."""
    path = findings / f"{name}-{hashlib.sha1(data).hexdigest()[:12]}"
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(f"{data.hex()}\n\n{traceback.format_exc()}", "utf-8")
    print(f"\nfound: {path}, and beside it .txt", file=sys.stderr)


def _minimise(found: Path, names: list[str], seconds: int) -> None:
    corpus: Any = importlib.import_module(".corpus", __package__)
    targets: Any = importlib.import_module(".targets", __package__)
    for name in names or NAMES:
        examples = targets.examples(name)
        inputs = corpus.load(name) + examples + [path.read_bytes() for path in (found / name).glob("*")]
        kept = corpus.minimised(targets.TARGETS[name], inputs, seconds)
        if kept is None:
            sys.exit(f"{name}: {len(inputs)} inputs take more than {seconds} s (--seconds); the corpus stays as it is")
        kept += [] if name == "session" else examples  # those of a session are too many
        print(f"{name}: {len(kept)} of {len(inputs)} inputs, {corpus.save(name, kept)} bytes")


def _malformed(first: int, count: int) -> None:
    malformed: Any = importlib.import_module(".malformed", __package__)
    begun = time.monotonic()
    print(malformed.tried(first, count), f"{time.monotonic() - begun:.0f} s")


def _run(files: list[Path]) -> None:
    targets: Any = importlib.import_module(".targets", __package__)
    for path in files:
        targets.TARGETS[path.name.partition("-")[0]](path.read_bytes())
        print(f"{path}: nothing happens")


if __name__ == "__main__":
    main()
