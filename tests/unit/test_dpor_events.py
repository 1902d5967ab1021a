# SPDX-License-Identifier: GPL-2.0-or-later
"""Events as masks: conflicts, the happens-before order, reversible races."""

from __future__ import annotations

from itertools import product

from ksmtrio.sched.exploration.dpor_events import UNKNOWN, Event, Names, Order, stripped
from ksmtrio.sched.footprint import Step, dependent
from ksmtrio.sched.tap import ADD, ANYTHING, READ, WRITE

KINDS = (READ, WRITE, ADD, READ | WRITE, READ | ADD)


def event(
    names: Names, actor: int, *, op: str = "", woken_by: int | None = None, **accesses: int
) -> Event:
    return names.event(Step(actor, "f.1", op, dict(accesses), woken_by))


def test_masks_conflict_as_footprints_do() -> None:
    names = Names()
    for one, other in product(KINDS, KINDS):
        for a, b in product(("x", "y", ANYTHING), ("x", "z", ANYTHING)):
            left, right = {a: one}, {b: other}
            if ANYTHING in (a, b) and (one if a == ANYTHING else other) != READ:
                continue
            assert names.of(left).conflicts(names.of(right)) == dependent(left, right)


def test_what_is_unknown_conflicts_with_all_that_touch_something() -> None:
    names = Names()
    assert UNKNOWN.conflicts(names.of({"x": READ}))
    assert names.of({"x": READ}).conflicts(UNKNOWN)
    assert not UNKNOWN.conflicts(names.of({}))


def test_equal_accesses_share_a_footprint() -> None:
    names = Names()
    assert names.of({"x": READ}) is names.of({"x": READ})


def test_choices_are_named_without_trailing_zeros() -> None:
    assert stripped([1, 0, 2, 0, 0]) == (1, 0, 2)
    step = Step(0, "f.1", "write", {}, None, [("data", 1, 2), ("data", 0, 3)])
    assert set(Names().event(step).alternatives()) == {(), (1, 1), (1, 2)}


def test_only_conflicts_with_nothing_between_are_races() -> None:
    names, order = Names(), Order()
    assert order.push(event(names, 0, x=WRITE)) == []
    assert order.push(event(names, 1, x=WRITE)) == [0]
    assert order.push(event(names, 2, x=READ)) == [1]
    assert order.push(event(names, 3, x=READ)) == [1]
    assert order.push(event(names, 0, x=WRITE)) == [3, 2]
    assert order.past == [0, 0b1, 0b11, 0b11, 0b1111]


def test_a_waker_is_no_race_but_happens_before() -> None:
    names, order = Names(), Order()
    order.push(event(names, 0, q=WRITE))
    order.push(event(names, 1, q=WRITE))
    assert order.push(event(names, 0, op="resume", woken_by=1, q=WRITE)) == []
    assert order.past[2] == 0b11


def test_an_acquisition_races_with_the_one_before_and_not_with_the_release() -> None:
    names, order = Names(), Order()
    order.push(event(names, 0, op="acquire", lock=WRITE))
    order.push(event(names, 0, lock=WRITE))
    order.push(event(names, 1, y=WRITE))
    assert order.push(event(names, 1, op="acquire", lock=WRITE)) == [0]
    assert order.past[3] == 0b111


def test_an_acquisition_that_comes_after_by_need_races_with_nothing() -> None:
    names, order = Names(), Order()
    order.push(event(names, 0, op="acquire", lock=WRITE))
    order.push(event(names, 0, y=WRITE))
    order.push(event(names, 0, lock=WRITE))
    assert order.push(event(names, 1, y=WRITE)) == [1]
    assert order.push(event(names, 1, op="acquire", lock=WRITE)) == []


def test_taking_back_restores_the_order() -> None:
    names, order = Names(), Order()
    order.push(event(names, 0, x=WRITE))
    for _ in range(2):
        assert order.push(event(names, 1, x=WRITE)) == [0]
        assert order.push(event(names, 2, x=READ)) == [1]
        order.pop()
        order.pop()
    assert len(order.events) == len(order.past) == 1


def test_those_not_after_an_event_are_listed() -> None:
    names, order = Names(), Order()
    for actor, word in ((0, "x"), (1, "x"), (2, "y"), (1, "z")):
        order.push(event(names, actor, **{word: WRITE}))
    assert list(order.after(0)) == [2]
