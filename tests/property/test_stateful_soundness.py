# SPDX-License-Identifier: GPL-2.0-or-later
"""`stateful` against all schedules: the same final states, the same findings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ksmtrio import execution
from ksmtrio.execution import run_subject
from ksmtrio.kconfig import build_kernel
from ksmtrio.machine import Machine, build_machine
from ksmtrio.prng import Stream
from ksmtrio.scenario import load_scenario
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.exploration.base import Explorer, Settings
from ksmtrio.sched.exploration.dfs import Dfs
from ksmtrio.sched.exploration.stateful import PLAIN, Stateful
from ksmtrio.sched.hosts import HOSTS
from ksmtrio.sched.state import StateHash, Terms
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.subject import KernelSubject
from tests.exploring_programs import Plan, explore, explore_subject, plans

SCHEDULES_MAX = 1_500
on_each_host = pytest.mark.parametrize("host", HOSTS)


def same_as_all_schedules(plan: Plan, *, bound: int | None, mode: str, host: str) -> None:
    """Compare with depth-first search that remembers nothing."""
    expected = explore(plan, Dfs(Settings(bound=bound)), most=SCHEDULES_MAX)
    assume(expected.done)
    explorer = Stateful(Settings(bound=bound, mode=mode))
    seen = explore(plan, explorer, host=host)
    assert explorer.complete
    assert seen.finals == expected.finals
    if plan.alike and not mode:
        # Which of two identical tasks is named first is not told apart.
        assert kinds(seen.findings) == kinds(expected.findings)
    else:
        assert seen.findings == expected.findings


def kinds(signatures: set[str]) -> set[str]:
    """Return what was found, without where."""
    return {signature.partition("@")[0] for signature in signatures}


@on_each_host
@settings(max_examples=30, deadline=None)
@given(plans(), st.sampled_from(("", PLAIN)))
def test_without_a_bound_nothing_is_missed(host: str, plan: Plan, mode: str) -> None:
    same_as_all_schedules(plan, bound=None, mode=mode, host=host)


@on_each_host
@settings(max_examples=30, deadline=None)
@given(plans(), st.integers(0, 2), st.sampled_from(("", PLAIN)))
def test_with_a_bound_nothing_within_it_is_missed(
    host: str, plan: Plan, bound: int, mode: str
) -> None:
    same_as_all_schedules(plan, bound=bound, mode=mode, host=host)


TINY = ("offline_vs_ksmd_tiny", "mbind_vs_ksmd_tiny", "move_pages_vs_merge_tiny")


class Dumping(RandomStrategy):
    """Random, in longer turns; notes the hash and the dump of every state with a choice."""

    def __init__(self, seed: int, states: StateHash, machines: list[Machine]) -> None:
        super().__init__(seed)
        self._turns = Stream(seed, "turns")
        self._states = states
        self._machines = machines
        self.seen: list[tuple[int, str]] = []

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Look, then go on as before, or not."""
        dump = json.dumps(self._machines[-1].dump(), sort_keys=True)
        self.seen.append((self._states.machine(), dump))
        if current is not None and current in enabled and not self._turns.one_in(12):
            return enabled.index(current)
        return super().pick(enabled, current)


@pytest.mark.parametrize("name", [*TINY, "offline_vs_exit", "offline_vs_swapcache"])
def test_states_of_a_kernel_with_equal_hashes_are_equal(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines: list[Machine] = []

    def building(*args: Any, **options: Any) -> Machine:
        machines.append(build_machine(*args, **options))
        return machines[-1]

    monkeypatch.setattr(execution, "build_machine", building)
    terms, dumps, met_again = Terms(), {}, 0
    for seed in range(6):
        states = StateHash(terms)
        dumping = Dumping(seed, states, machines)
        subject = KernelSubject(load_scenario(name), build_kernel())
        run_subject(subject, dumping, recorder=states, marks=False, exact=False, host="bare")
        for key, dump in dumping.seen:
            met_again += key in dumps
            assert dumps.setdefault(key, dump) == dump
    assert met_again


def explore_kernel(name: str, explorer: Explorer) -> tuple[set[str | None], set[str]]:
    """Return final states and findings."""
    subject = KernelSubject(load_scenario(name), build_kernel())
    explored = explore_subject(subject, explorer)
    assert explored.done
    return explored.finals, explored.findings


@pytest.mark.parametrize(
    "bound", [pytest.param(0, id="0"), pytest.param(1, id="1", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", TINY)
def test_kernel_comes_to_what_it_comes_to_without_a_store_of_states(name: str, bound: int) -> None:
    asked = Settings(bound=bound)
    assert explore_kernel(name, Stateful(asked)) == explore_kernel(name, Dfs(asked))


@pytest.mark.slow
@on_each_host
@settings(max_examples=750, deadline=None)
@given(plans(operations=5), st.sampled_from((None, 0, 1, 2)), st.sampled_from(("", PLAIN)))
def test_of_many_programs_nothing_is_missed(
    host: str, plan: Plan, bound: int | None, mode: str
) -> None:
    same_as_all_schedules(plan, bound=bound, mode=mode, host=host)
