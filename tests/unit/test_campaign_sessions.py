# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions in campaigns: one that begins in the middle of a block has learned what came before."""

from __future__ import annotations

import pytest
import trio

from ksmtrio.campaign import sessions
from ksmtrio.campaign.sessions import feedback_of, open_session
from ksmtrio.errors import BadInput
from ksmtrio.execution import execute_subject
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.session import BLOCK
from ksmtrio.subject import KernelSubject

SUBJECT = KernelSubject(load_scenario("first_race"), build_kernel())


async def choices_of(strategy: str, first: int, last: int) -> list[Choices]:
    """Execute the seeds from first to last as a worker does; return their choices."""
    found = []
    session = await open_session(SUBJECT, strategy, first, depth=None, profile=Profile())
    for seed in range(first, last + 1):
        steering = session.strategy(seed % BLOCK)
        outcome = await execute_subject(SUBJECT, steering, marks=False)
        session.learn(seed % BLOCK, steering, feedback_of(outcome))
        found.append(outcome.choices)
    return found


@pytest.mark.parametrize("strategy", ["reads-from", "portfolio", "random"])
def test_seed_means_the_same_wherever_a_worker_begins(strategy: str) -> None:
    block = 3 * BLOCK
    whole = trio.run(choices_of, strategy, block, block + 11)
    part = trio.run(choices_of, strategy, block + 7, block + 11)
    assert part == whole[7:]


@pytest.mark.parametrize("strategy", ["reads-from", "portfolio"])
def test_blocks_know_nothing_of_each_other(strategy: str) -> None:
    after = trio.run(choices_of, strategy, 0, 0)
    assert trio.run(choices_of, strategy, BLOCK, BLOCK) != after


def test_strategy_that_does_not_learn_has_nothing_executed_before_it(monkeypatch) -> None:
    monkeypatch.setattr(sessions, "execute_subject", None)
    session = trio.run(lambda: open_session(SUBJECT, None, 63, depth=None, profile=Profile()))
    assert session.spec(63).seed == 63


def test_unknown_strategy_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"unknown strategy 'magic'.*portfolio"):
        trio.run(lambda: open_session(SUBJECT, "magic", 0, depth=None, profile=Profile()))
