# SPDX-License-Identifier: GPL-2.0-or-later
"""Explorers are sound: on random small programs they reach what a search of all executions reaches.

Programs of two or three tasks over words, counters, flags, ideal locks, mutexes, rwsems, bit locks,
spinlocks, wait queues, RCU sections, data choices and pauses. Every execution is taken on both
hosts, which must agree one by one; then each explorer, without a bound, must come to the same final
states and the same findings.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings

from ksmtrio.sched.exploration.base import Settings
from ksmtrio.sched.exploration.registry import EXPLORERS, make_explorer
from tests.exploring_programs import Given, Plan, explore, plans
from tests.quality.catalogue import every_execution

WHOLE = frozenset({"done", "hung"})
"""Ends of executions that no finding cut short; only their final states can be compared."""

SEARCHES = [(name, mode) for name, kind in EXPLORERS.items() for mode in kind.modes or ("",)]
"""Every explorer in every mode."""

QUICK, MANY = 300, 500
"""Executions of the largest programs."""


def all_of(plan: Plan, host: str, at_most: int) -> list[tuple[Any, ...]]:
    """Return what each execution came to; exactly `at_most` of them when there are more."""
    given_program: Any = Given(plan)
    return [
        (done.choices, done.stop_reason, done.machine_digest, done.signatures())
        for done in every_execution(given_program, at_most=at_most, host=host)
    ]


def kinds(signatures: set[str]) -> set[str]:
    """Return what was found, without where."""
    return {signature.partition("@")[0] for signature in signatures}


def check(plan: Plan, at_most: int) -> None:
    """Compare all explorers with the search of all executions, if it can be made at all."""
    everything = all_of(plan, "bare", at_most)
    assume(len(everything) < at_most)
    assert everything == all_of(plan, "trio", at_most)
    finals = {final for _, stop, final, _ in everything if stop in WHOLE}
    findings = {signature for *_, signatures in everything for signature in signatures}
    for name, mode in SEARCHES:
        explorer = make_explorer(name, Settings(mode=mode))
        explored = explore(plan, explorer, most=20 * at_most)
        assert explored.done, name
        assert explorer.complete, name
        if plan.alike and (name, mode) == ("stateful", ""):
            # Which of two identical tasks is named first is not told apart.
            assert kinds(explored.findings) == kinds(findings)
        else:
            assert explored.findings == findings, (name, mode)
        assert finals <= explored.finals, (name, mode)
        ends = {final for _, _, final, _ in everything}
        assert explored.finals <= ends, (name, mode)


@settings(max_examples=50, deadline=None)
@given(plans(tasks=3, operations=3))
def test_every_explorer_reaches_what_all_executions_reach(plan: Plan) -> None:
    check(plan, QUICK)


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(plans(tasks=3, operations=4))
def test_every_explorer_reaches_it_on_a_thousand_programs(plan: Plan) -> None:
    check(plan, MANY)
