# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions: seeds in blocks, equal histories lead to equal choices."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import attrs
import pytest

from ksmtrio.errors import BadInput
from ksmtrio.sched.strategies import LEARNING, STRATEGIES, StrategySpec, build, resolve
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.session import BLOCK, Feedback, Session
from tests.harness import run_actors
from tests.programs import FAULTS, busy, outcome

PROFILE = Profile(30, (17, 8, 10, 4), (("box.total", (2, 1, 2, 1)),))
NOTHING = Feedback(found=False, choices=20)


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


def history(name: str, seed: int, executions: int) -> list[tuple[StrategySpec, Any]]:
    """Return specification and outcome of the first executions of a session."""
    session = Session(name, seed, profile=PROFILE)
    assert session.learns
    found = []
    for number in range(executions):
        strategy = session.strategy(number)
        world = run_actors(busy, strategy=strategy, faults=FAULTS)
        choices = len(world.rt.choices.schedule)
        session.learn(number, strategy, Feedback(found=False, choices=choices))
        found.append((session.spec(number), outcome(world)))
    return found


@pytest.mark.parametrize("name", LEARNING)
def test_equal_sessions_of_a_strategy_that_learns_have_equal_executions(name: str) -> None:
    first = history(name, 3, 40)
    assert first == history(name, 3, 40)
    assert [spec.seed for spec, _ in first] == list(range(3 * BLOCK, 3 * BLOCK + 40))
    assert first[:10] != history(name, 4, 10)


@pytest.mark.parametrize(
    ("name", "digest"), [("reads-from", "0a11cc7c9f23bd17"), ("portfolio", "b16a0a43fedc9ecd")]
)
def test_choices_of_a_session_are_the_same_on_every_python(name: str, digest: str) -> None:
    choices = repr([world["choices"] for _, world in history(name, 3, 40)])
    assert sha256(choices.encode()).hexdigest()[:16] == digest


def test_portfolio_gives_every_strategy_a_try() -> None:
    names = {
        spec.name.split("/")[1] for seed in range(4) for spec, _ in history("portfolio", seed, 64)
    }
    assert names == {*STRATEGIES, "reads-from"} - {"replay"}


def test_member_of_the_portfolio_makes_the_choices_it_would_make_alone() -> None:
    for spec, world in history("portfolio", 1, 40):
        name = spec.name.removeprefix("portfolio/")
        if name != "reads-from":
            alone = run_actors(busy, strategy=build(attrs.evolve(spec, name=name)), faults=FAULTS)
            assert outcome(alone) == world


def test_only_the_portfolio_has_decisions() -> None:
    assert Session("reads-from", 0).decisions == ()
    session = Session("portfolio", 0, profile=PROFILE)
    session.strategy(0)
    assert [decision.why for decision in session.decisions] == ["floor"]


@pytest.mark.parametrize("name", ["magic", "replay"])
def test_session_of_an_unknown_strategy_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput, match="unknown strategy"):
        Session(name, 0)
