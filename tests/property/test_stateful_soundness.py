# SPDX-License-Identifier: GPL-2.0-or-later
"""`stateful` against all schedules: the same final states, the same findings."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ksmtrio.sched.exploration.base import Settings
from ksmtrio.sched.exploration.dfs import Dfs
from ksmtrio.sched.exploration.stateful import PLAIN, Stateful
from tests.exploring_programs import Plan, explore, plans

SCHEDULES_MAX = 1_500


def same_as_all_schedules(plan: Plan, *, bound: int | None, mode: str) -> None:
    """Compare with depth-first search that remembers nothing."""
    expected = explore(plan, Dfs(Settings(bound=bound)), most=SCHEDULES_MAX)
    assume(expected.done)
    explorer = Stateful(Settings(bound=bound, mode=mode))
    seen = explore(plan, explorer)
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


@settings(max_examples=60, deadline=None)
@given(plans(), st.sampled_from(("", PLAIN)))
def test_without_a_bound_nothing_is_missed(plan: Plan, mode: str) -> None:
    same_as_all_schedules(plan, bound=None, mode=mode)


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(0, 2), st.sampled_from(("", PLAIN)))
def test_with_a_bound_nothing_within_it_is_missed(plan: Plan, bound: int, mode: str) -> None:
    same_as_all_schedules(plan, bound=bound, mode=mode)


@pytest.mark.slow
@settings(max_examples=1_500, deadline=None)
@given(plans(operations=5), st.sampled_from((None, 0, 1, 2)), st.sampled_from(("", PLAIN)))
def test_of_many_programs_nothing_is_missed(plan: Plan, bound: int | None, mode: str) -> None:
    same_as_all_schedules(plan, bound=bound, mode=mode)
