# SPDX-License-Identifier: GPL-2.0-or-later
"""What the recorder makes of operations, tracepoints and choices."""

from __future__ import annotations

from enum import Enum

import pytest

from ksmtrio.errors import EmulatorError
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.strategies.round_robin import RoundRobin
from ksmtrio.trace.format import ChoiceRecord, EventRecord, encode
from ksmtrio.trace.recorder import Recorder
from ksmtrio.tracepoints.base import Event, render
from ksmtrio.tracepoints.registry import check_event
from tests.harness import run_actors


class Colour(Enum):
    RED = 1


class Named:
    def __str__(self) -> str:
        return "its name"


def build(world):
    cell = Cell(world.box, "word", 0)

    async def body():
        await cell.write("f.1", (await cell.read("f.0")) + 1)

    world.actor("a", body)
    world.actor("b", body)


def recorded():
    records = []
    recorder = Recorder(lambda record, line: records.append((record, line)))
    run_actors(build, strategy=RoundRobin(0), recorder=recorder)
    return recorder, records


def test_each_operation_and_choice_is_one_record():
    recorder, records = recorded()
    events = [r for r, _ in records if isinstance(r, EventRecord)]
    choices = [r for r, _ in records if isinstance(r, ChoiceRecord)]
    assert [e.event for e in events].count("write") == 2
    assert events[0].fields == {"target": "box.word", "value": 0}
    assert all(c.stream == "schedule" and c.of == 2 for c in choices)
    assert recorder.records == len(records) == len(events) + len(choices)


def test_sinks_get_the_bytes_that_are_digested():
    first, records = recorded()
    assert all(encode(record) == line for record, line in records)
    again, _ = recorded()
    assert first.hexdigest() == again.hexdigest()


def test_steps_and_actors_come_from_the_runtime():
    records = []

    def attached(world):
        recorder.attach(world.rt)
        build(world)

    recorder = Recorder(lambda record, _: records.append(record))
    run_actors(attached, strategy=RoundRobin(0), recorder=recorder)
    events = [r for r in records if isinstance(r, EventRecord)]
    assert {e.actor for e in events} == {"a", "b"}
    assert [e.step for e in events] == sorted(e.step for e in events)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, 5),
        (-5, -5),
        (True, True),
        (None, None),
        ("x", "x"),
        (1 << 80, str(1 << 80)),
        ((1, None, Named()), [1, None, "its name"]),
        (Named(), "its name"),
        (Colour.RED, "Colour.RED"),
    ],
)
def test_values_look_the_same_everywhere(value, shown):
    assert render(value) == shown


@pytest.mark.parametrize("value", [1.0, {1}, frozenset(), object(), (1, {2})])
def test_value_without_a_rendering_is_a_fault_of_ours(value):
    with pytest.raises(EmulatorError, match="an event shows a"):
        render(value)


def test_event_of_an_unknown_system_is_a_fault_of_ours():
    check_event("memhp:mem_offline")
    check_event("mutex_lock")
    with pytest.raises(EmulatorError, match="no known system"):
        check_event("nosuch:thing")


def test_choice_of_an_unknown_stream_is_a_fault_of_ours():
    with pytest.raises(EmulatorError, match="unknown stream"):
        Recorder().choice("weather", "f.1", 0, 2, "")


def test_system_of_an_event_is_before_the_colon():
    assert Event(1, "a", "f.1", "ksm:merge", {}).system == "ksm"
    assert Event(1, "a", "f.1", "read", {}).system == ""
