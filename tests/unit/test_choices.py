# SPDX-License-Identifier: GPL-2.0-or-later
"""Three separate streams of choices; only real alternatives are recorded."""

from __future__ import annotations

import pytest

from ksmtrio.errors import ReplayDiverged
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies.random import RandomStrategy
from tests.harness import Tape, World, run_actors


def dealer(world: World, *, data: int = 3, faults: int = 3) -> None:
    """Two actors that take data and fault choices between schedule points."""

    async def body() -> None:
        for _ in range(data):
            await world.rt.cond_resched("f.1")
            world.note(f"data {world.rt.choose(4, 'f.1')}")
        for _ in range(faults):
            await world.rt.cond_resched("f.2")
            world.note(f"fault {world.rt.fault('alloc', 'f.2')}")

    world.actor("a", body)
    world.actor("b", body)


def test_choices_start_empty_and_compare_by_value() -> None:
    assert Choices() == Choices([], [], [])
    assert Choices([1]) != Choices([], [1])


def test_each_kind_of_choice_is_recorded_in_its_own_stream() -> None:
    world = run_actors(dealer, strategy=RandomStrategy(1), faults=["alloc"])
    assert len(world.rt.choices.data) == 6
    assert len(world.rt.choices.faults) == 6
    assert len(world.rt.choices.schedule) > 6


def test_streams_do_not_disturb_each_other() -> None:
    many = run_actors(dealer, strategy=RandomStrategy(3), faults=["alloc"])
    no_faults = run_actors(dealer, strategy=RandomStrategy(3))
    no_data = run_actors(lambda w: dealer(w, data=0), strategy=RandomStrategy(3), faults=["alloc"])
    assert no_faults.rt.choices.schedule == many.rt.choices.schedule
    assert no_faults.rt.choices.data == many.rt.choices.data
    assert no_faults.rt.choices.faults == []
    assert no_data.rt.choices.faults == many.rt.choices.faults
    assert no_data.rt.choices.data == []


def test_editing_the_schedule_leaves_the_other_streams_as_they_were() -> None:
    choices = Choices([1, 0, 1], [3, 2, 1, 0, 1, 2], [1, 0, 1, 0, 0, 1])
    first = run_actors(dealer, choices=choices, faults=["alloc"])
    choices.schedule = [0, 1]
    second = run_actors(dealer, choices=choices, faults=["alloc"])
    assert first.rt.choices.schedule != second.rt.choices.schedule
    assert first.rt.choices.data == second.rt.choices.data == choices.data
    assert first.rt.choices.faults == second.rt.choices.faults == choices.faults


def test_choice_without_alternative_is_neither_asked_nor_recorded() -> None:
    def build(world: World) -> None:
        async def body() -> None:
            await world.rt.cond_resched("f.1")
            assert world.rt.choose(1, "f.1") == 0

        world.actor("a", body)

    world = run_actors(build, choices=Choices(), exact=True)
    assert world.rt.choices == Choices()


def test_fault_that_the_scenario_does_not_list_never_happens() -> None:
    world = run_actors(dealer, choices=Choices(faults=[1] * 6), faults=["other"])
    assert world.rt.choices.faults == []
    assert not any("True" in line for line in world.log)


def test_recorder_is_told_of_every_choice_with_its_alternatives() -> None:
    tape = Tape()
    choices = Choices([1], [2], [1])
    world = run_actors(dealer, choices=choices, recorder=tape, faults=["alloc"])
    assert tape.choices[0] == ("schedule", "start", 1, 2, "b")
    assert ("data", "f.1", 2, 4, "") in tape.choices
    assert ("faults", "f.2", 1, 2, "alloc") in tape.choices
    for stream in ("schedule", "data", "faults"):
        told = [index for name, _, index, _, _ in tape.choices if name == stream]
        assert told == getattr(world.rt.choices, stream)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (Choices(schedule=[2]), "schedule choice 0 is 2, but only 2 actors are enabled at start"),
        (Choices(schedule=[-1]), "schedule choice 0 is -1"),
        (Choices(schedule=[0] * 40, data=[0, 4]), "data choice 1 is 4 of 4 at f.1"),
        (Choices(schedule=[0] * 40, data=[0] * 6, faults=[2]), "fault choice 0 is 2 of 2 at f.2"),
    ],
)
def test_recorded_choice_out_of_range_diverges(choices: Choices, message: str) -> None:
    with pytest.raises(ReplayDiverged, match=message):
        run_actors(dealer, choices=choices, exact=True, faults=["alloc"])
