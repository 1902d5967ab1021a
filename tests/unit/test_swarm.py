# SPDX-License-Identifier: GPL-2.0-or-later
"""Swarm: a seed draws a strategy, its parameters and how fast each actor is."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies import build, resolve
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.swarm import MEMBERS, Speeds, draw_member
from tests.harness import Watched, run_actors
from tests.programs import FAULTS, busy

PROFILE = Profile(30, (17, 8, 10, 4), (("box.total", (2, 1, 2, 1)),))


def picks(seed: int, *, actors: int = 3, choices: int = 600) -> list[int]:
    """Return who is picked from actors that are always enabled."""
    enabled = [ActorState(index, f"a{index}", index) for index in range(actors)]
    strategy = Speeds(RandomStrategy(seed), seed)
    return [strategy.pick(enabled, None) for _ in range(choices)]


def test_seeds_draw_every_member_about_equally_often() -> None:
    counts = Counter(draw_member(seed) for seed in range(1_200))
    assert set(counts) == set(MEMBERS)
    assert all(150 < count < 250 for count in counts.values())


@pytest.mark.parametrize("seed", range(30))
def test_specification_holds_the_effective_parameters(seed: int) -> None:
    spec = resolve("swarm", seed, profile=PROFILE)
    member = resolve(draw_member(seed), seed, profile=PROFILE)
    assert spec.name == f"swarm/{member.name}"
    assert (spec.seed, spec.depth, spec.points) == (seed, member.depth, member.points)
    assert (spec.target, spec.counts) == (member.target, member.counts)


def test_in_about_half_of_the_seeds_no_actor_is_slow() -> None:
    plain = 0
    for seed in range(100):
        spec = resolve("swarm", seed, profile=PROFILE)
        swarm = run_actors(busy, strategy=build(spec), faults=FAULTS)
        member = resolve(draw_member(seed), seed, profile=PROFILE)
        alone = run_actors(busy, strategy=build(member), faults=FAULTS)
        plain += swarm.rt.choices == alone.rt.choices
    assert 40 < plain < 75


def test_slow_actors_stand_still_while_others_pass_many_points() -> None:
    longest = []
    for seed in range(40):
        places = {a: [i for i, who in enumerate(picks(seed)) if who == a] for a in range(3)}
        longest.append(max(b - a for seen in places.values() for a, b in pairwise(seen)))
    assert sum(gap > 60 for gap in longest) >= 5


@pytest.mark.parametrize("seed", range(40))
def test_slow_actors_run_all_the_same(seed: int) -> None:
    assert set(picks(seed, choices=1_500)) == {0, 1, 2}


@pytest.mark.parametrize("seed", range(40))
def test_member_is_asked_about_enabled_actors_only(seed: int) -> None:
    strategy = Watched(build(resolve("swarm", seed, profile=PROFILE)))
    world = run_actors(busy, strategy=strategy, faults=FAULTS)
    assert world.rt.stop_reason == "done"
    assert all(
        0 <= index < of
        for index, of in zip(world.rt.choices.schedule, strategy.alternatives, strict=True)
    )
