# SPDX-License-Identifier: GPL-2.0-or-later
"""Sightings: which write each read saw, by labels, whoever did it."""

from __future__ import annotations

from ksmtrio.locking.mutex import Mutex
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.sched.strategies.sightings import (
    INITIAL,
    Sighted,
    Sightings,
    hash_of_pairs,
    reads,
    writes,
)
from tests.harness import Turns, World, run_actors
from tests.programs import FAULTS, busy, outcome


def two_writers(world: World) -> None:
    word = Cell(world.box, "word", 0)

    async def writer() -> None:
        await word.write("write.1", 1)

    async def reader() -> None:
        await word.read("read.1")
        await word.read("read.2")

    world.actor("w0", writer)
    world.actor("w1", writer)
    world.actor("reader", reader)


def seen(*turns: str, build=two_writers) -> Sightings:
    strategy = Sighted(Turns(*turns))
    run_actors(build, strategy=strategy)
    return strategy.sightings


def test_read_before_any_write_sees_the_initial_one() -> None:
    sightings = seen("reader", "w0", "w1")
    assert list(sightings.pairs) == [
        ("box.word", "read.1", INITIAL),
        ("box.word", "read.2", INITIAL),
    ]


def test_read_sees_the_label_of_the_last_write_whoever_wrote() -> None:
    expected = [("box.word", "read.1", INITIAL), ("box.word", "read.2", "write.1")]
    for writer in ("w0", "w1"):
        assert list(seen("reader@read.2", writer, "reader").pairs) == expected


def test_events_know_who_carried_them_out() -> None:
    sightings = seen("w0", "reader", "w1")
    assert sightings.writers == {("box.word", "write.1"): 0b011}
    assert sightings.readers == {("box.word", "read.1"): 0b100, ("box.word", "read.2"): 0b100}


def test_taking_a_lock_sees_who_gave_it_back() -> None:
    def build(world: World) -> None:
        mutex = Mutex(world.box, "m")

        async def body() -> None:
            await mutex.lock("f.1")
            await mutex.unlock("f.2")

        world.actor("a", body)
        world.actor("b", body)

    assert list(seen("a", "b", build=build).pairs) == [
        ("box.m", "f.1", INITIAL),
        ("box.m", "f.1", "f.2"),
    ]


def test_behaviour_is_what_was_seen_in_whatever_order() -> None:
    early, late = seen("w0", "w1", "reader"), seen("w1", "reader", "w0")
    assert early.behaviour() == late.behaviour()
    assert early.behaviour() != seen("reader", "w0", "w1").behaviour()


def test_hash_of_pairs_is_the_same_everywhere_and_for_ever() -> None:
    pairs = [("m", "f.1", "f.2"), ("box.word", "read.1", INITIAL)]
    assert hash_of_pairs(pairs) == hash_of_pairs(reversed(pairs)) == 12926389366332522495


def test_kinds_of_operations() -> None:
    assert [reads(op) for op in ("read", "cmpxchg", "mutex_lock", "write", "up_read")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert [writes(op) for op in ("read", "test_bit", "cmpxchg", "mutex_lock", "write")] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_to_be_watched_changes_no_choice() -> None:
    alone = run_actors(busy, strategy=RandomStrategy(7), faults=FAULTS)
    watched = run_actors(busy, strategy=Sighted(RandomStrategy(7)), faults=FAULTS)
    assert outcome(watched) == outcome(alone)
