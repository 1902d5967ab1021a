# SPDX-License-Identifier: GPL-2.0-or-later
"""Behaviours: what makes two executions alike, and what does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ksmtrio.execution import run_subject
from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.rwsem import RwSem
from ksmtrio.sched.behaviour import Behaviour, Behaviours
from ksmtrio.sched.program import Program
from tests.harness import Turns
from tests.quality.catalogue import inline


def behaviour(build: Callable[[Program], None], *turns: str) -> Behaviour:
    """Return how one exact schedule behaved."""
    tap = Behaviours()
    run_subject(inline(build), Turns(*turns), recorder=tap)
    return tap.behaviour()


def counters(p: Program) -> None:
    """Two tasks read and write one word; a third has a word of its own."""
    shared, own = p.cell("shared", 0), p.cell("own", 0)

    async def inc() -> None:
        await shared.write("inc.2", await shared.read("inc.1") + 1)

    async def alone() -> None:
        await own.write("alone.1", 1)

    p.task("a", inc)
    p.task("b", inc)
    p.task("c", alone)


def test_the_order_of_independent_operations_makes_no_difference() -> None:
    assert behaviour(counters, "a", "b", "c") == behaviour(counters, "c", "a", "b")
    assert behaviour(counters, "a@inc.2", "c", "a", "b") == behaviour(counters, "a", "b", "c")


def test_reads_that_see_other_writes_make_a_difference() -> None:
    one, other = behaviour(counters, "a", "b", "c"), behaviour(counters, "b", "a", "c")
    lost = behaviour(counters, "a@inc.2", "b", "a", "c")
    assert len({one.reads_from, other.reads_from, lost.reads_from}) == 3
    assert len({one.both(), other.both(), lost.both()}) == 3
    assert one.lock_order == other.lock_order == lost.lock_order


def test_who_of_two_lost_updates_wrote_last_is_seen_by_nobody() -> None:
    assert behaviour(counters, "a@inc.2", "b", "a", "c") == behaviour(
        counters, "a@inc.2", "b@inc.2", "a", "b", "c"
    )


def test_a_second_write_of_the_same_value_is_another_write() -> None:
    def twice(p: Program) -> None:
        word = p.cell("word", 0)

        async def writer() -> None:
            await word.write("writer.1", 1)
            await word.write("writer.2", 1)

        async def reader() -> None:
            await word.read("reader.1")

        p.task("a", writer)
        p.task("b", reader)

    classes = {
        behaviour(twice, "b", "a").reads_from,
        behaviour(twice, "a@writer.2", "b", "a").reads_from,
        behaviour(twice, "a", "b").reads_from,
    }
    assert len(classes) == 3


def test_the_order_of_exclusive_owners_makes_a_difference() -> None:
    def locked(p: Program) -> None:
        mutex = Mutex(p.box, "m")

        async def body() -> None:
            await mutex.lock("body.1")
            await mutex.unlock("body.2")

        p.task("a", body)
        p.task("b", body)

    one, other = behaviour(locked, "a", "b"), behaviour(locked, "b", "a")
    assert one.lock_order != other.lock_order
    assert one.reads_from == other.reads_from


def test_the_order_of_those_who_share_a_lock_makes_none() -> None:
    def shared(p: Program) -> None:
        sem = RwSem(p.box, "s")

        async def body() -> None:
            await sem.down_read("body.1")
            await sem.up_read("body.2")

        async def writer() -> None:
            await sem.down_write("writer.1")
            await sem.up_write("writer.2")

        p.task("a", body)
        p.task("b", body)
        p.task("c", writer)

    assert behaviour(shared, "a", "b", "c") == behaviour(shared, "b", "a", "c")
    assert behaviour(shared, "a", "c", "b") != behaviour(shared, "a", "b", "c")


@pytest.mark.parametrize("index", [0, 1])
def test_data_choices_make_a_difference(index: int) -> None:
    def choosing(p: Program) -> None:
        word = p.cell("word", 0)

        async def body() -> None:
            await word.read("body.1")
            p.choose(2, "body.2")

        p.task("a", body)

    class Chooses(Turns):
        def choose(self, stream: str, n: int) -> int:
            return index

    tap = Behaviours()
    run_subject(inline(choosing), Chooses("a"), recorder=tap)
    assert (tap.behaviour() == behaviour(choosing, "a")) is (index == 0)
