# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions: seeds in blocks, equal histories lead to equal choices."""

from __future__ import annotations

import pytest

from ksmtrio.errors import BadInput
from ksmtrio.sched.strategies import build, resolve
from ksmtrio.sched.strategies.session import BLOCK, Feedback, Session
from tests.harness import run_actors
from tests.programs import FAULTS, busy, outcome

NOTHING = Feedback(new_behaviour=False, behaviour=0, found=False, points=30, choices=20)


@pytest.mark.parametrize("name", ["random", "round-robin", "pct", None])
@pytest.mark.parametrize("seed", [0, 5, BLOCK - 1, BLOCK, 3 * BLOCK + 7])
def test_memoryless_session_gives_each_seed_the_execution_it_always_had(
    name: str | None, seed: int
) -> None:
    spec = resolve(name, seed, points=30)
    session = Session(name, seed // BLOCK, points=30)
    alone = run_actors(busy, strategy=build(spec), faults=FAULTS)
    within = run_actors(busy, strategy=session.strategy(seed % BLOCK), faults=FAULTS)
    assert outcome(within) == outcome(alone)
    assert session.spec(seed % BLOCK) == spec
    assert not session.learns


def test_what_a_memoryless_session_is_told_changes_nothing() -> None:
    told, untold = Session("random", 2), Session("random", 2)
    for number in range(3):
        told.learn(number, told.strategy(number), NOTHING)
    first, second = (run_actors(busy, strategy=s.strategy(3)) for s in (told, untold))
    assert outcome(first) == outcome(second)


@pytest.mark.parametrize("name", ["magic", "replay"])
def test_session_of_an_unknown_strategy_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput, match="unknown strategy"):
        Session(name, 0)
