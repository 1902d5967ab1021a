# SPDX-License-Identifier: GPL-2.0-or-later
"""Any list of integers is a valid schedule, and what it recorded replays exactly."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksmtrio.sched.choices import Choices
from ksmtrio.sched.hosts import HOSTS
from ksmtrio.sched.strategies.replay import Replay
from tests.harness import Watched, run_actors
from tests.programs import FAULTS, busy, outcome

integers = st.lists(st.integers(min_value=-(1 << 70), max_value=1 << 70) | st.integers(0, 3))
anything = st.builds(Choices, integers, integers, integers)
on_each_host = pytest.mark.parametrize("host", HOSTS)
halved = settings(max_examples=settings.default.max_examples // 2)


@on_each_host
@halved
@given(anything)
def test_any_integers_are_a_valid_execution(host: str, choices: Choices) -> None:
    strategy = Watched(Replay(choices, exact=False))
    world = run_actors(busy, strategy=strategy, faults=FAULTS, host=host)
    assert world.splats == []
    assert world.rt.stop_reason == "done"
    assert world.crowd == 1
    assert world.log[0].value in {12, 102, 110, 111, 112}
    taken = world.rt.choices
    assert [*map(len, (taken.schedule, taken.data, taken.faults))][1:] == [2, 1]
    assert len(taken.schedule) == len(strategy.alternatives)
    assert all(0 <= i < n for i, n in zip(taken.schedule, strategy.alternatives, strict=True))
    assert all(n > 1 for n in strategy.alternatives)


@on_each_host
@halved
@given(anything)
def test_recorded_choices_replay_to_equal_choices_and_equal_state(
    host: str, choices: Choices
) -> None:
    first = run_actors(busy, choices=choices, faults=FAULTS, host=host)
    recorded = copy.deepcopy(first.rt.choices)
    second = run_actors(busy, choices=recorded, exact=True, faults=FAULTS, host=host)
    assert second.rt.choices == recorded
    assert outcome(second) == outcome(first)


@on_each_host
@halved
@given(anything)
def test_guidance_that_already_fits_is_followed_to_the_letter(host: str, choices: Choices) -> None:
    recorded = run_actors(busy, choices=choices, faults=FAULTS, host=host).rt.choices
    again = run_actors(busy, choices=copy.deepcopy(recorded), faults=FAULTS, host=host)
    assert again.rt.choices == recorded


@on_each_host
@halved
@given(anything, st.data())
def test_prefix_of_a_schedule_is_kept(host: str, choices: Choices, data: st.DataObject) -> None:
    whole = run_actors(busy, choices=choices, faults=FAULTS, host=host).rt.choices.schedule
    cut = data.draw(st.integers(0, len(whole)))
    part = run_actors(
        busy, choices=Choices(whole[:cut]), faults=FAULTS, host=host
    ).rt.choices.schedule
    assert part[:cut] == whole[:cut]
