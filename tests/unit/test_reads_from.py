# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads-from fuzzing: wishes steer an execution, and what was seen makes the next wishes."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from ksmtrio.locking.mutex import Mutex
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.strategies.learner import Feedback
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.reads_from import ReadsFrom, ReadsFromLearner, Wish
from ksmtrio.sched.strategies.sightings import INITIAL
from tests.harness import Build, Watched, World, execute, run_actors
from tests.programs import FAULTS, busy, lost_update, lost_update_hit

SEEDS = range(20)


def racers(world: World, *, writers: int = 5) -> None:
    """Writers of two words in one order, and a reader of both in the same."""
    first, second = Cell(world.box, "first", 0), Cell(world.box, "second", 0)

    async def writer() -> None:
        await first.write("write.1", 1)
        await second.write("write.2", 1)

    async def reader() -> None:
        world.log.append(await first.read("read.1"))
        world.log.append(await second.read("read.2"))

    for number in range(writers):
        world.actor(f"w{number}", writer)
    world.actor("reader", reader)


def torn(world: World) -> bool:
    return world.log == [1, 0]


def steered(*wishes: Wish, seed: int = 0, patience: int = 1_000) -> ReadsFrom:
    return ReadsFrom(RandomStrategy(seed), wishes, patience=patience)


def feedback(world: World) -> Feedback:
    return Feedback(found=False, choices=len(world.rt.choices.schedule))


def first_hit(build: Build, hit, seed: int, *, executions: int = 100) -> int | None:
    """Return the number of the first execution of a session that hits, from 1."""

    async def session() -> int | None:
        learner = ReadsFromLearner(seed, lambda number: RandomStrategy(1_000 * seed + number))
        for number in range(executions):
            strategy = learner.strategy(number)
            world = await execute(build, strategy)
            if hit(world):
                return number + 1
            learner.learn(number, strategy, feedback(world))
        return None

    return trio.run(session)


# -- one execution ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("pairs", "log"),
    [
        ([("box.first", "read.1", INITIAL)], [0]),
        ([("box.first", "read.1", "write.1")], [1]),
        ([("box.second", "read.2", INITIAL)], [..., 0]),
        ([("box.first", "read.1", "write.1"), ("box.second", "read.2", INITIAL)], [1, 0]),
        ([("box.first", "read.1", INITIAL), ("box.second", "read.2", "write.2")], [0, 1]),
    ],
)
def test_read_sees_the_write_it_is_wished_to_see(pairs, log, seed: int) -> None:
    strategy = steered(*map(Wish, pairs), seed=seed)
    world = run_actors(racers, strategy=strategy)
    assert all(want in (..., got) for want, got in zip(log, world.log, strict=False))
    assert strategy.granted == strategy.wishes


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("write", [INITIAL, "write.1"])
def test_read_does_not_see_a_write_it_is_wished_not_to_see(write: str, seed: int) -> None:
    strategy = steered(Wish(("box.first", "read.1", write), seen=False), seed=seed)
    world = run_actors(racers, strategy=strategy)
    if strategy.granted:
        assert world.log[0] == (write == INITIAL)
    else:
        # the write came before the read was announced: nothing else could be seen any more
        assert write == "write.1"


@pytest.mark.parametrize(
    "pair",
    [
        ("box.first", "read.1", "no such label"),
        ("box.first", "no such label", "write.1"),
        ("nowhere", "read.1", "write.1"),
    ],
)
def test_wish_that_cannot_come_true_keeps_nobody_from_coming_to_an_end(pair) -> None:
    strategy = steered(Wish(pair))
    world = run_actors(racers, strategy=strategy)
    assert world.rt.stop_reason == "done"
    assert len(world.log) == 2
    assert strategy.granted == ()


def test_who_waits_in_a_loop_for_an_actor_held_back_does_not_spin_for_ever() -> None:
    def build(world: World) -> None:
        word = Cell(world.box, "word", 0)

        async def spins() -> None:
            while not word.value:
                await world.rt.yield_("spin.1")
            await word.read("read.1")

        async def writes() -> None:
            await word.write("write.1", 1)

        world.actor("spins", spins)
        world.actor("writes", writes)

    strategy = steered(Wish(("box.word", "read.1", INITIAL)), patience=30)
    world = run_actors(build, strategy=strategy)
    assert world.splats == []
    assert world.rt.points < 60


def test_wish_for_a_lock_decides_who_takes_it_first() -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "m")

        async def body() -> None:
            name = world.rt.me.name
            await mutex.lock(f"{name}.1")
            world.log.append(name)
            await mutex.unlock(f"{name}.2")

        for name in "abcde":
            world.actor(name, body)

    for seed in SEEDS:
        strategy = steered(
            Wish(("box.m", "d.1", INITIAL)), Wish(("box.m", "b.1", "d.2")), seed=seed
        )
        assert run_actors(build, strategy=strategy).log[:2] == ["d", "b"]


@pytest.mark.parametrize("seed", SEEDS)
def test_steering_picks_enabled_actors_only(seed: int) -> None:
    wishes = [
        Wish(("box.mutex", "move.3", INITIAL)),
        Wish(("box.total", "move.5", "write.4"), seen=bool(seed % 2)),
        Wish(("page_lock(box)", "move.2", "daemon.4")),
    ]
    strategy = Watched(steered(*wishes, seed=seed))
    world = run_actors(busy, strategy=strategy, faults=FAULTS)
    assert world.rt.stop_reason == "done"
    assert world.splats == []
    taken = world.rt.choices.schedule
    assert all(0 <= i < n for i, n in zip(taken, strategy.alternatives, strict=True))


# -- learning --------------------------------------------------------------------------------------


def test_first_execution_of_a_session_has_no_wishes() -> None:
    learner = ReadsFromLearner(0, RandomStrategy)
    assert learner.strategy(0).wishes == ()


def test_after_the_first_execution_unseen_pairs_are_wished_for() -> None:
    learner = ReadsFromLearner(1, RandomStrategy)
    seen = {}
    wished = set()
    for number in range(30):
        strategy = learner.strategy(number)
        wished |= {wish.pair for wish in strategy.wishes if wish.pair not in seen}
        world = run_actors(racers, strategy=strategy)
        learner.learn(number, strategy, feedback(world))
        seen |= strategy.sightings.pairs
    every = {
        (f"box.{word}", f"read.{n}", write)
        for word, n in (("first", 1), ("second", 2))
        for write in (INITIAL, f"write.{n}")
    }
    assert set(seen) == every
    assert wished <= every


def test_equal_histories_lead_to_equal_wishes() -> None:
    def history(seed: int) -> list[tuple[Wish, ...]]:
        learner = ReadsFromLearner(seed, RandomStrategy)
        wishes = []
        for number in range(40):
            strategy = learner.strategy(number)
            world = run_actors(busy, strategy=strategy, faults=FAULTS)
            learner.learn(number, strategy, feedback(world))
            wishes.append(strategy.wishes)
        return wishes

    assert history(3) == history(3)
    assert history(3) != history(4)


def test_session_over_actors_that_share_nothing_wishes_nothing() -> None:
    def build(world: World) -> None:
        async def body() -> None:
            word = Cell(world.box, world.rt.me.name, 0)
            await word.write("f.2", await word.read("f.1") + 1)
            await world.rt.cond_resched("f.3")

        world.actor("a", body)
        world.actor("b", body)

    learner = ReadsFromLearner(0, RandomStrategy)
    for number in range(20):
        strategy = learner.strategy(number)
        assert strategy.wishes == ()
        learner.learn(number, strategy, feedback(run_actors(build, strategy=strategy)))


@pytest.mark.parametrize("seed", SEEDS)
def test_bug_behind_many_equal_writers_is_found_where_chance_does_not_find_it(seed: int) -> None:
    build = partial(racers, writers=40)
    assert first_hit(build, torn, seed) is not None


def test_chance_alone_does_not_find_it() -> None:
    async def hits() -> int:
        build = partial(racers, writers=40)
        return sum([torn(await execute(build, RandomStrategy(seed))) for seed in range(100)])

    assert trio.run(hits) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_lost_update_is_found_soon(seed: int) -> None:
    assert first_hit(lost_update, lost_update_hit, seed, executions=64) is not None
