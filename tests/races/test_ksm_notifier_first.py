# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `ksm_notifier_first` (hunk 13): a veto must not have KSM unlock what it never locked."""

from __future__ import annotations

from tests.campaigns import QUIET, search


def test_without_priority_a_veto_unlocks_the_mutex_that_ksmd_holds() -> None:
    result = search(
        "offline_veto", 300, without=["ksm_notifier_first"], until="locks:foreign-unlock"
    )
    assert "locks:foreign-unlock" in result.kinds()


def test_the_canary_race_is_found_in_the_smallest_scenario() -> None:
    result = search(
        "first_race", 2_000, without=["ksm_notifier_first"], until="locks:foreign-unlock"
    )
    assert "locks:foreign-unlock" in result.kinds()


def test_with_priority_lock_and_unlock_balance() -> None:
    for scenario in ("offline_veto", "first_race"):
        result = search(scenario, QUIET)
        assert result.marks["window_veto"], scenario
        assert not result.unexplained(), scenario
