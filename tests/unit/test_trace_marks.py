# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks: small state machines over labels, made anew for each execution."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ksmtrio.sched.cell import Cell
from ksmtrio.trace.marks import Mark, MarkTracker
from ksmtrio.trace.race_marks import MARKS
from tests.harness import run_actors


class SecondWrite(Mark):
    name = "second_write"
    description = "f.1 was done twice"
    labels = ("f.1",)

    def __init__(self) -> None:
        self.seen = 0

    def step(self, actor, label, machine):
        del actor, machine
        assert label == "f.1"
        self.seen += 1
        assert self.seen <= 2, "a mark that was reached is asked no more"
        return self.seen == 2


class Never(Mark):
    name = "never"
    description = "a label that is not passed"
    labels = ("f.9",)

    def step(self, actor, label, machine):
        raise AssertionError(actor, label, machine)


def reached(writes):
    tracker = MarkTracker([Never, SecondWrite])

    def build(world):
        tracker.attach(SimpleNamespace(rt=world.rt))
        cell = Cell(world.box, "word", 0)

        async def body():
            for _ in range(writes):
                await cell.read("f.0")
                await cell.write("f.1", 0)

        world.actor("a", body)

    run_actors(build)
    return tracker.reached()


@pytest.mark.parametrize(
    ("writes", "names"), [(1, ()), (2, ("second_write",)), (5, ("second_write",))]
)
def test_mark_is_reached_when_its_machine_says_so(writes, names):
    assert reached(writes) == names


def test_base_mark_says_nothing_itself():
    with pytest.raises(NotImplementedError):
        Mark().step(None, "f.1", None)


def test_race_marks_have_names_of_their_own_and_say_what_they_are():
    names = [mark.name for mark in MARKS]
    assert len(names) == len(set(names))
    assert all(mark.description and mark.labels for mark in MARKS)
