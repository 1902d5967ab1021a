# SPDX-License-Identifier: GPL-2.0-or-later
"""Portfolio: more executions for who shows more that is new, some for plain random always."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs
import pytest

from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.sched.strategies.base import SeededChoices, Strategy
from ksmtrio.sched.strategies.learner import BLOCK, Feedback
from ksmtrio.sched.strategies.portfolio import FLOOR, FLOOR_ONE_IN, Portfolio
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.reads_from import ReadsFrom, ReadsFromLearner
from ksmtrio.sched.strategies.sightings import Sighted

SEEDS = range(12)


class Nothing(SeededChoices):
    """Picks the first actor."""

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        return 0


@attrs.define
class Fake:
    """A member that keeps what it is told."""

    name: str
    told: list[int] = attrs.field(factory=list)

    def strategy(self, number: int) -> Strategy:
        return Nothing(number)

    def spec(self, number: int) -> StrategySpec:
        return StrategySpec(self.name, number)

    def learn(self, number: int, strategy: Strategy, feedback: Feedback) -> None:
        assert isinstance(strategy, Nothing)
        self.told.append(number)


def portfolio(seed: int, *names: str) -> tuple[Portfolio, dict[str, Fake]]:
    fakes = {name: Fake(name) for name in (FLOOR, *names)}
    guided = ReadsFromLearner(seed, RandomStrategy)
    return Portfolio(seed, {**fakes, "reads-from": guided}, guided), fakes


def play(bandit: Portfolio, good: str, *, rounds: int = 600) -> Counter[str]:
    """Have only the good member show something new; return who got how many executions."""
    shares: Counter[str] = Counter()
    for number in range(rounds):
        strategy = bandit.strategy(number)
        member = bandit.decisions[-1].member
        shares[member] += 1
        assert isinstance(strategy, Sighted | ReadsFrom)
        label = f"f.{number}" if member == good else "f.0"
        strategy.sightings.pairs["word", label, ""] = None
        bandit.learn(number, strategy, Feedback(found=False, choices=10))
    return shares


@pytest.mark.parametrize("seed", SEEDS)
def test_member_that_shows_new_things_gets_most_of_the_executions(seed: int) -> None:
    bandit, _ = portfolio(seed, "good", "bad", "worse")
    shares = play(bandit, "good")
    assert shares["good"] > 600 // 2
    assert all(shares[other] > 0 for other in ("bad", "worse", "reads-from"))


def test_every_member_is_tried_before_any_is_drawn() -> None:
    orders = set()
    for seed in SEEDS:
        bandit, _ = portfolio(seed, "one", "two", "three")
        play(bandit, "one", rounds=16)
        assert [d.why for d in bandit.decisions[:8]] == ["floor", *["first"] * 4, *["drawn"] * 3]
        tried = tuple(d.member for d in bandit.decisions[1:5])
        assert sorted(tried) == ["one", "reads-from", "three", "two"]
        orders.add(tried)
    assert len(orders) > 6


@pytest.mark.parametrize("seed", SEEDS)
def test_plain_random_keeps_its_share_however_little_it_shows(seed: int) -> None:
    bandit, _ = portfolio(seed, "good")
    play(bandit, "good")
    floors = [d for d in bandit.decisions if d.why == "floor"]
    assert len(floors) == 600 // FLOOR_ONE_IN
    assert {d.member for d in floors} == {FLOOR}


def test_who_got_the_execution_is_told_and_the_guided_member_sees_it_too() -> None:
    bandit, fakes = portfolio(1, "other")
    shares = play(bandit, "other", rounds=64)
    assert {name: len(fake.told) for name, fake in fakes.items()} == {
        name: shares[name] for name in fakes
    }
    assert bandit._guided._visits.total() == 64


def test_a_finding_is_rewarded_the_first_time_only() -> None:
    bandit, _ = portfolio(0)
    standing = bandit._standings[FLOOR]
    for number in (0, 8, 16):
        strategy = bandit.strategy(number)
        bandit.decisions += [bandit.decisions[-1]] * 8
        bandit.learn(number, strategy, Feedback(found=True, choices=5))
    assert (standing.won, standing.lost) == (2, 4)


def test_decisions_say_who_and_why() -> None:
    bandit, _ = portfolio(3, "other")
    play(bandit, "other", rounds=40)
    assert [d.seed for d in bandit.decisions] == list(range(3 * BLOCK, 3 * BLOCK + 40))
    for decision in bandit.decisions:
        assert decision.why in {"floor", "first", "drawn"}
        assert 0 <= decision.chance < 1_000
        assert decision.won + decision.lost <= 24
    assert max(d.won for d in bandit.decisions) > 0


def test_specification_names_the_member() -> None:
    bandit, _ = portfolio(3, "other")
    play(bandit, "other", rounds=40)
    for number, decision in enumerate(bandit.decisions):
        assert bandit.spec(number).name == f"portfolio/{decision.member}"


def test_equal_histories_lead_to_equal_decisions() -> None:
    histories = []
    for seed in (5, 5, 6):
        bandit, _ = portfolio(seed, "one", "two")
        play(bandit, "one", rounds=100)
        histories.append([(d.member, d.chance, d.won, d.lost) for d in bandit.decisions])
    assert histories[0] == histories[1] != histories[2]


@pytest.mark.parametrize(("a", "b"), [(1, 1), (2, 1), (1, 4), (6, 3)])
def test_drawn_chances_have_the_mean_of_the_beta_distribution(a: int, b: int) -> None:
    bandit, _ = portfolio(0)
    drawn = [bandit._beta(a, b) for _ in range(4_000)]
    mean = sum(drawn) / len(drawn) / 2**32
    assert abs(mean - a / (a + b)) < 0.02
