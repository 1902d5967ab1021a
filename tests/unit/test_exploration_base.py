# SPDX-License-Identifier: GPL-2.0-or-later
"""What counts as a preemption, choice by choice; explorers by name."""

from __future__ import annotations

import pytest

from ksmtrio.errors import BadInput
from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.exploration.base import Counts, Preemptions, Settings
from ksmtrio.sched.exploration.registry import EXPLORERS, make_explorer


def actors(*states: State) -> list[ActorState]:
    return [ActorState(i, f"a{i}", i, state=state) for i, state in enumerate(states)]


RUN, SLEEP = State.RUNNABLE, State.SLEEPING


def test_to_go_on_is_free_and_to_switch_counts() -> None:
    enabled = actors(RUN, RUN, SLEEP)
    assert Preemptions().free(enabled, enabled[1]) == 0b010


def test_at_the_start_whoever_begins_is_free() -> None:
    assert Preemptions().free(actors(RUN, RUN, RUN), None) == 0b111


@pytest.mark.parametrize("state", [State.BLOCKED, State.FINISHED])
def test_after_a_block_or_an_exit_any_switch_is_free_but_an_early_wake_up(state: State) -> None:
    gone, *enabled = actors(state, RUN, SLEEP, RUN)
    gone.op = "yield"  # the last it announced, if it is its exit
    if state is State.BLOCKED:
        gone.op = "resume"
    assert Preemptions().free(enabled, gone) == 0b101


def test_when_all_sleep_any_wake_up_is_free() -> None:
    enabled = actors(SLEEP, SLEEP)
    assert Preemptions().free(enabled, None) == 0b11


def test_who_sleeps_again_at_once_counts() -> None:
    enabled = actors(SLEEP, RUN)
    enabled[0].op = "sleep"
    assert Preemptions().free(enabled, enabled[0]) == 0b10


@pytest.mark.parametrize("op", ["yield", "cpu_relax"])
def test_after_giving_way_the_others_are_free_each_once(op: str) -> None:
    enabled = actors(RUN, RUN, RUN)
    first, second, third = enabled
    first.op = second.op = op
    rule = Preemptions()
    assert rule.free(enabled, first) == 0b110
    rule.took(second)
    assert rule.free(enabled, second) == 0b100
    rule.took(third)
    assert rule.free(enabled, third) == 0b100
    third.op = op
    assert rule.free(enabled, third) == 0b001


def test_an_unknown_explorer_or_mode_is_bad_input() -> None:
    with pytest.raises(BadInput, match="unknown explorer 'luck'; choose one of: dfs"):
        make_explorer("luck", Settings())
    with pytest.raises(BadInput, match="dfs has no mode 'optimal'"):
        make_explorer("dfs", Settings(mode="optimal"))


def test_every_explorer_is_made_by_name() -> None:
    for name in EXPLORERS:
        assert make_explorer(name, Settings()).counts == Counts()


def test_counts_add_up() -> None:
    counts = Counts(executions=1, redundant=2)
    counts.add(Counts(executions=3, blocked=4, states=5))
    assert counts == Counts(executions=4, redundant=2, blocked=4, states=5)
