"""Any sequence of rules: send, receive, ack, reject, cancel, cut, resume, expire, kill, hang up, rebind, drain.

It is the simulation, with nothing but the rules to move it: values are sent, received and settled as these say. Each
sequence is one run of trio, and at its end all that is left is sent, received and settled; the checker judges. So a
sequence is a list, which hypothesis makes shorter when it fails.
"""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trionetchan import Limits

from .line import Fault, Quality, Way
from .plan import Act, ChannelPlan, ImporterPlan, ImportPlan, Plan, Step
from .running import simulate_plan

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0") or 60

LIMITS = Limits(
    keepalive=0.5, keepalive_timeout=0.5, resume_timeout=2, goodbye_timeout=0.5, max_redeliveries=3, max_log_lines=10**6
)
DOWN = ChannelPlan(name="down", down=True, values=8, buffer=1)
JOBS = ChannelPlan(name="jobs", down=True, values=8, senders=2, dead_letters=True)
UP = ChannelPlan(name="up", down=False, importers=2)

WHOM = st.integers(0, 2)
WHICH = st.integers(0, 6)
COUNTS = st.integers(1, 5)
TURNS = st.integers(0, 3)


def steps(act: Act, **drawn: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(Step, act=st.just(act), turns=TURNS, on_bytes=st.booleans(), **drawn)


RULES = {
    "send": steps(Act.SEND, which=WHICH, amount=COUNTS),
    "receive": steps(Act.RECEIVE, which=WHICH, amount=COUNTS),
    "ack": steps(Act.ACK, whom=WHOM, amount=COUNTS),
    "reject": steps(Act.REJECT, whom=WHOM, amount=COUNTS),
    "cancel": steps(Act.CANCEL, which=st.integers(0, 11)),
    "cancel an import": steps(Act.CANCEL_IMPORT, which=WHICH),
    "cut": steps(Act.CUT, whom=WHOM, fault=st.sampled_from(Fault), way=st.sampled_from(Way), seconds=st.just(1)),
    "resume": steps(Act.WAIT, after=st.just(1.5)),
    "expire": steps(Act.CUT, whom=WHOM, fault=st.sampled_from(Fault), way=st.sampled_from(Way), seconds=st.just(9)),
    "time goes by": steps(Act.WAIT, after=st.just(4)),
    "kill": steps(Act.KILL, whom=WHOM),
    "leave": steps(Act.LEAVE, whom=WHOM),
    "hang up": steps(Act.HANG_UP, whom=WHOM, which=WHICH),
    "exporter hangs up": steps(Act.EXPORTER_HANGS_UP, which=WHICH),
    "close": steps(Act.CLOSE, whom=WHOM),
    "rebind": steps(Act.START, whom=WHOM),
    "drain": steps(Act.DRAIN, whom=WHOM, which=WHICH),
    "exporter drains": steps(Act.EXPORTER_DRAINS, which=WHICH),
    "sync": steps(Act.SYNC, whom=WHOM, which=WHICH),
    "exporter syncs": steps(Act.EXPORTER_SYNCS, which=WHICH),
    "count": steps(Act.COUNT),
}


def importer(*, starts: float, window: int, count: int | None, refused: bool) -> ImporterPlan:
    imports = (
        ImportPlan(channel=DOWN, window=window, count=count, again=True),
        ImportPlan(channel=JOBS, window=window, manual=True),
        ImportPlan(channel=UP, window=window, values=5),
    )
    return ImporterPlan(imports=imports, limits=LIMITS, starts=starts, quality=Quality(), refused=refused)


importers = st.builds(
    importer,
    starts=st.sampled_from([0, 0, math.inf]),
    window=st.sampled_from([1, 2, 64]),
    count=st.sampled_from([None, 2]),
    refused=st.booleans(),
)
plans = st.builds(
    Plan,
    seed=st.integers(0, 3),
    channels=st.just((DOWN, JOBS, UP)),
    importers=st.tuples(importers, importers, importers),
    steps=st.lists(st.one_of(*RULES.values()), max_size=25).map(tuple),
    limits=st.just(LIMITS),
    stepwise=st.just(True),
)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 60)
@given(plan=plans)
def test_any_sequence_of_rules(plan: Plan) -> None:
    verdict = simulate_plan(plan)
    if verdict.findings:
        text = verdict.report().rpartition("replay: ")[0]
        pytest.fail(text, pytrace=False)
