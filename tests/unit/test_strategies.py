# SPDX-License-Identifier: GPL-2.0-or-later
"""Strategies: only enabled actors, equal seeds equal choices, and what each one promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import sqrt

import pytest
import trio

from ksmtrio.errors import BadInput, ReplayDiverged
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies import LEARNING, STRATEGIES, StrategySpec, build, resolve
from ksmtrio.sched.strategies.base import SeededChoices, Strategy
from ksmtrio.sched.strategies.pct import FairPct, Pct
from ksmtrio.sched.strategies.pos import PartialOrderSampling
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.replay import Replay
from ksmtrio.sched.strategies.round_robin import RoundRobin
from ksmtrio.sched.strategies.surw import SelectiveWalk
from ksmtrio.sched.strategies.urw import UniformWalk
from tests.harness import Build, Watched, World, execute, run_actors
from tests.programs import (
    FAULTS,
    busy,
    lost_update,
    lost_update_hit,
    outcome,
    torn_look,
    torn_look_hit,
)

SEEDED = ["random", "round-robin", "urw", "pct", "pct-fair", "pos", "surw", "swarm"]
PROFILE = Profile(30, (17, 8, 10, 4), (("box.total", (2, 1, 2, 1)), ("box.mutex", (4, 0, 2, 0))))
seeded = pytest.mark.parametrize("name", SEEDED)


def actors(count: int) -> list[ActorState]:
    """Return actors outside any execution."""
    return [ActorState(index, f"a{index}", index) for index in range(count)]


def hits(program: Build, hit: Callable[[World], bool], strategies: Sequence[Strategy]) -> int:
    """Return how many of the strategies find the bug, one execution each."""

    async def all_of_them() -> int:
        return sum([hit(await execute(program, strategy)) for strategy in strategies])

    return trio.run(all_of_them)


def walkers(world: World, *, count: int = 3, steps: int = 20) -> None:
    """Actors that pass points and log their names."""

    async def body() -> None:
        for _ in range(steps):
            await world.rt.cond_resched("f.1")
            world.log.append(world.rt.me.name)

    for number in range(count):
        world.actor(f"a{number}", body)


# -- every strategy ------------------------------------------------------------------------------


@seeded
@pytest.mark.parametrize("seed", range(12))
def test_every_choice_is_among_the_alternatives(name: str, seed: int) -> None:
    strategy = Watched(build(resolve(name, seed, profile=PROFILE)))
    world = run_actors(busy, strategy=strategy, faults=FAULTS)
    assert world.rt.stop_reason == "done"
    assert world.splats == []
    taken = world.rt.choices.schedule
    assert all(0 <= i < n for i, n in zip(taken, strategy.alternatives, strict=True))
    assert all(0 <= index < 3 for index in world.rt.choices.data)
    assert set(world.rt.choices.faults) <= {0, 1}


@seeded
@pytest.mark.parametrize("seed", [0, 1, 7, 12345])
def test_equal_seeds_give_equal_executions(name: str, seed: int) -> None:
    spec = resolve(name, seed, profile=PROFILE)
    first, second = (
        outcome(run_actors(busy, strategy=build(spec), faults=FAULTS)) for _ in range(2)
    )
    assert first == second


@seeded
def test_seeds_give_different_schedules(name: str) -> None:
    worlds = [
        run_actors(busy, strategy=build(resolve(name, seed, profile=PROFILE))) for seed in range(14)
    ]
    assert len({tuple(world.rt.choices.schedule) for world in worlds}) >= 7


@seeded
def test_recorded_choices_of_a_strategy_replay_exactly(name: str) -> None:
    first = run_actors(busy, strategy=build(resolve(name, 3, profile=PROFILE)), faults=FAULTS)
    second = run_actors(busy, choices=first.rt.choices, exact=True, faults=FAULTS)
    assert outcome(second) == outcome(first)


@seeded
def test_actor_that_yields_for_ever_does_not_starve_the_others(name: str) -> None:
    def waiting(world: World) -> None:
        async def spins() -> None:
            while "worker" not in world.log:
                await world.rt.yield_("s.1")

        async def works() -> None:
            for _ in range(5):
                await world.rt.cond_resched("w.1")
            world.log.append("worker")

        world.actor("s1", spins)
        world.actor("s2", spins)
        world.actor("worker", works)

    for seed in range(20):
        world = run_actors(waiting, strategy=build(resolve(name, seed, profile=PROFILE)))
        assert world.splats == []


def test_every_strategy_has_a_description() -> None:
    assert set(STRATEGIES) >= {*SEEDED, "replay"}
    assert all(STRATEGIES.values())


# -- by name -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_without_a_name_it_is_swarm(seed: int) -> None:
    assert resolve(None, seed, points=10) == resolve("swarm", seed, points=10)


@pytest.mark.parametrize("name", LEARNING)
def test_strategy_that_learns_cannot_be_had_for_a_seed_alone(name: str) -> None:
    with pytest.raises(BadInput, match=f"'{name}' learns"):
        resolve(name, 0)


def test_depth_of_pct_is_drawn_from_the_seed_unless_given() -> None:
    depths = {resolve("pct", seed, points=10).depth for seed in range(50)}
    assert depths == {2, 3, 4, 5}
    assert resolve("pct", 1, points=10, depth=7) == StrategySpec("pct", 1, depth=7, points=10)


def test_parameters_of_pct_stay_out_of_the_others() -> None:
    assert resolve("random", 1, points=10, depth=3) == StrategySpec("random", 1)


@pytest.mark.parametrize("name", ["replay", "magic", ""])
def test_unknown_name_is_bad_input_that_lists_the_known(name: str) -> None:
    with pytest.raises(BadInput, match=r"unknown strategy .*random"):
        resolve(name, 0, points=10)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("random", RandomStrategy),
        ("round-robin", RoundRobin),
        ("urw", UniformWalk),
        ("pct", Pct),
        ("pct-fair", FairPct),
        ("pos", PartialOrderSampling),
        ("surw", SelectiveWalk),
    ],
)
def test_specification_builds_a_fresh_instance_each_time(name: str, kind: type) -> None:
    spec = resolve(name, 3, profile=PROFILE)
    assert isinstance(build(spec), kind)
    assert build(spec) is not build(spec)


def test_what_a_profile_says_is_in_the_specification_of_those_who_ask() -> None:
    assert resolve("urw", 1, profile=PROFILE) == StrategySpec("urw", 1, counts=PROFILE.steps)
    picked = [resolve("surw", seed, profile=PROFILE) for seed in range(20)]
    assert {(spec.target, spec.counts) for spec in picked} == set(PROFILE.shared)
    assert resolve("pos", 1, profile=PROFILE) == StrategySpec("pos", 1)
    assert resolve("surw", 1) == StrategySpec("surw", 1)


# -- streams -------------------------------------------------------------------------------------


@seeded
def test_schedule_and_other_choices_do_not_shift_each_other(name: str) -> None:
    def taken(*, schedule: bool, others: bool) -> tuple[list[int], list[int]]:
        strategy, enabled = build(resolve(name, 5, profile=PROFILE)), actors(4)
        picked, chosen = [], []
        for _ in range(40):
            if schedule:
                picked.append(strategy.pick(enabled, None))
                strategy.demote(enabled[picked[-1]])
            if others:
                chosen += [strategy.choose("data", 5), strategy.choose("faults", 2)]
        return picked, chosen

    both = taken(schedule=True, others=True)
    assert both[0] == taken(schedule=True, others=False)[0]
    assert both[1] == taken(schedule=False, others=True)[1]


GOLDEN = {
    "random": "302231101111002101001110011111",
    "round-robin": "11111222330000000011111",
    "urw": "0123023200011000210000100100101",
    "pct": "1111330001110000000000222222111111",
    "pct-fair": "1111330001110000000000222222110",
    "pos": "0123221110111102111100001000101",
    "surw": "012313000111111110001111",
    "swarm": "222122222221111111011000001",
}
"""The schedule choices of `busy` for seed 11, the same on every Python."""


@seeded
def test_choices_of_a_seed_are_the_same_on_every_python(name: str) -> None:
    spec = resolve(name, 11, depth=3, profile=PROFILE)
    world = run_actors(busy, strategy=build(spec), faults=FAULTS)
    assert "".join(map(str, world.rt.choices.schedule)) == GOLDEN[name]


# -- data and faults -----------------------------------------------------------------------------


def test_data_choices_are_mostly_ordinary_and_reach_everything() -> None:
    choices = SeededChoices(1)
    counts = Counter(choices.choose("data", 4) for _ in range(4_000))
    assert sorted(counts) == [0, 1, 2, 3]
    assert 3_100 < counts[0] < 3_400


def test_faults_happen_one_time_in_eight() -> None:
    choices = SeededChoices(1)
    assert 400 < sum(choices.choose("faults", 2) for _ in range(4_000)) < 600


def test_round_robin_takes_only_ordinary_outcomes() -> None:
    assert {RoundRobin(seed).choose("data", 5) for seed in range(20)} == {0}


# -- random --------------------------------------------------------------------------------------


def test_random_takes_every_actor_equally_often_at_each_choice() -> None:
    strategy, enabled = RandomStrategy(1), actors(4)
    counts = Counter(strategy.pick(enabled, None) for _ in range(8_000))
    assert sorted(counts) == [0, 1, 2, 3]
    assert all(1_850 < count < 2_150 for count in counts.values())


def test_random_reaches_every_interleaving_of_a_small_world() -> None:
    async def logs() -> set[tuple[str, ...]]:
        program = partial(walkers, count=2, steps=2)
        return {tuple((await execute(program, RandomStrategy(seed))).log) for seed in range(200)}

    assert len(trio.run(logs)) == 6


# -- round robin ---------------------------------------------------------------------------------


def longest_runs(log: Sequence[str]) -> int:
    """Return the length of the longest run of equal names."""
    longest = length = 1
    for before, after in pairwise(log):
        length = length + 1 if before == after else 1
        longest = max(longest, length)
    return longest


@pytest.mark.parametrize("seed", range(7))
def test_round_robin_gives_everybody_the_same_turns(seed: int) -> None:
    world = run_actors(walkers, strategy=RoundRobin(seed))
    quantum = 1 + seed % 7
    # at no time is one actor more than about a turn ahead of another that still has work
    counts: Counter[str] = Counter({f"a{number}": 0 for number in range(3)})
    for name in world.log:
        counts[name] += 1
        if max(counts.values()) < 20:
            assert max(counts.values()) - min(counts.values()) <= quantum
    until_the_first_is_done = world.log[: world.log.index(max(world.log, key=world.log.count)) + 20]
    assert longest_runs(until_the_first_is_done) <= quantum


@pytest.mark.parametrize(("seed", "first"), [(0, "a0"), (7, "a1"), (14, "a2"), (21, "a0")])
def test_seed_of_round_robin_shifts_who_begins(seed: int, first: str) -> None:
    log = run_actors(walkers, strategy=RoundRobin(seed)).log
    assert log[0] == first or log[:3].index(first) == 0


def test_round_robin_goes_on_past_an_actor_that_cannot_run() -> None:
    strategy, all_of_them = RoundRobin(0), actors(4)
    enabled = [all_of_them[0], all_of_them[2], all_of_them[3]]
    order, current = [], None
    for _ in range(6):
        current = enabled[strategy.pick(enabled, current)]
        order.append(current.index)
    assert order == [0, 2, 3, 0, 2, 3]


def test_yield_ends_the_turn_of_round_robin() -> None:
    strategy, enabled = RoundRobin(6), actors(2)
    current = enabled[strategy.pick(enabled, None)]
    assert enabled[strategy.pick(enabled, current)] is current
    strategy.demote(current)
    assert enabled[strategy.pick(enabled, current)] is not current


# -- pct -----------------------------------------------------------------------------------------


def choices_of(program: Build) -> int:
    """Return how many schedule choices an execution takes at most, by trial."""

    async def longest() -> int:
        worlds = [await execute(program, RandomStrategy(seed)) for seed in range(100)]
        return max(len(world.rt.choices.schedule) for world in worlds)

    return trio.run(longest)


EXECUTIONS = 1_000


@pytest.mark.parametrize(
    ("program", "hit", "depth"),
    [(lost_update, lost_update_hit, 2), (torn_look, torn_look_hit, 3)],
)
def test_pct_finds_a_bug_of_its_depth_at_least_as_often_as_promised(
    program: Build, hit: Callable[[World], bool], depth: int
) -> None:
    points = choices_of(program)
    promised = EXECUTIONS / (2 * points ** (depth - 1))
    found = hits(
        program, hit, [Pct(seed, depth=depth, points=points) for seed in range(EXECUTIONS)]
    )
    # the bound is tight for the second bug, hence three standard deviations of a fair count
    assert found >= promised - 3 * sqrt(promised)


def test_pct_of_too_small_a_depth_never_finds_the_bug() -> None:
    shallow = [Pct(seed, depth=1, points=10) for seed in range(200)]
    assert hits(lost_update, lost_update_hit, shallow) == 0
    shallow = [Pct(seed, depth=2, points=10) for seed in range(200)]
    assert hits(torn_look, torn_look_hit, shallow) == 0


def test_pct_of_depth_one_runs_each_actor_to_its_end() -> None:
    for seed in range(30):
        log = run_actors(walkers, strategy=Pct(seed, depth=1, points=60)).log
        assert log == [name for name in dict.fromkeys(log) for _ in range(20)]


def test_pct_reaches_every_order_of_priorities() -> None:
    def first_seen(seed: int) -> tuple[str, ...]:
        world = run_actors(walkers, strategy=Pct(seed, depth=1, points=60))
        return tuple(dict.fromkeys(world.log))

    counts = Counter(first_seen(seed) for seed in range(120))
    assert len(counts) == 6


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_pct_preempts_at_most_depth_minus_one_times(depth: int) -> None:
    for seed in range(30):
        log = run_actors(walkers, strategy=Pct(seed, depth=depth, points=60)).log
        switches = sum(before != after for before, after in pairwise(log))
        assert switches <= 2 + 2 * (depth - 1)


def yields_until_another_runs(seed: int) -> int:
    """Return how often the best of three actors yields before another one is picked."""
    enabled, strategy = actors(3), Pct(seed, depth=1, points=1_000)
    first = enabled[strategy.pick(enabled, None)]
    for yields in range(1, 100):
        strategy.demote(first)
        if enabled[strategy.pick(enabled, first)] is not first:
            return yields
    raise AssertionError("an actor that only yields keeps the others from running")


def test_yield_mostly_lets_another_run_and_never_spins_for_long() -> None:
    yields = [yields_until_another_runs(seed) for seed in range(400)]
    assert yields.count(1) > 400 / 2
    assert max(yields) < 20


@pytest.mark.parametrize("points", [0, 1])
def test_pct_accepts_any_estimate_of_the_points(points: int) -> None:
    assert run_actors(walkers, strategy=Pct(1, depth=5, points=points)).rt.stop_reason == "done"


# -- replay --------------------------------------------------------------------------------------


def test_exact_replay_that_runs_out_of_choices_diverges() -> None:
    full = run_actors(walkers, strategy=RandomStrategy(1)).rt.choices.schedule
    with pytest.raises(ReplayDiverged, match="schedule choices ended before"):
        run_actors(walkers, choices=Choices(full[:-1]), exact=True)


@pytest.mark.parametrize("stream", ["data", "faults"])
def test_exact_replay_that_runs_out_of_another_stream_diverges(stream: str) -> None:
    with pytest.raises(ReplayDiverged, match=f"recorded {stream} choices ended"):
        Replay(Choices()).choose(stream, 2)


def test_exact_replay_of_an_actor_that_is_not_enabled_diverges() -> None:
    full = run_actors(walkers, strategy=RandomStrategy(1)).rt.choices.schedule
    with pytest.raises(ReplayDiverged, match="schedule choice 5 is 3, but only 3 actors"):
        run_actors(walkers, choices=Choices([*full[:5], 3, *full[6:]]), exact=True)


def test_replay_is_exact_unless_told_otherwise() -> None:
    with pytest.raises(ReplayDiverged):
        Replay(Choices()).pick(actors(2), None)


def test_guidance_wraps_and_then_lets_the_current_actor_go_on() -> None:
    enabled = actors(3)
    strategy = Replay(Choices([4, -1], [7], [3]), exact=False)
    assert [strategy.pick(enabled, None) for _ in range(2)] == [1, 2]
    assert strategy.pick(enabled, enabled[2]) == 2
    assert strategy.pick(enabled[:2], enabled[2]) == 0
    assert strategy.pick(enabled, None) == 0
    assert [strategy.choose("data", 4), strategy.choose("data", 4)] == [3, 0]
    assert [strategy.choose("faults", 2), strategy.choose("faults", 2)] == [1, 0]


def test_replay_leaves_the_list_it_was_given_alone() -> None:
    choices = Choices([1, 1], [1], [1])
    run_actors(walkers, choices=choices)
    assert choices == Choices([1, 1], [1], [1])
