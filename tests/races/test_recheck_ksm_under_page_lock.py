# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `recheck_ksm_under_page_lock` (hunk 20): only the page lock makes the answer final."""

from __future__ import annotations

from tests.campaigns import QUIET, Search, search


def followed(result: Search) -> bool:
    """Return whether a finding's executions show race E, and another race that it leads to."""
    after = [marks for marks in result.marks_with.values() if "race_e" in marks]
    return any({"race_a", "race_a2", "race_d"} & marks for marks in after)


def test_without_the_recheck_move_pages_migrates_a_page_that_went_ksm() -> None:
    switches = ["recheck_ksm_under_page_lock"]
    assert followed(search("move_pages_vs_merge", 1_500, without=switches, until=followed))


def test_without_the_recheck_mbind_does_so_through_a_fork() -> None:
    result = search(
        "mbind_vs_ksmd",
        200,
        without=["recheck_ksm_under_page_lock"],
        until=lambda found: found.marks["race_e"],
    )
    assert result.marks["race_e"]


def test_with_it_the_window_is_entered_and_the_page_refused() -> None:
    for scenario in ("move_pages_vs_merge", "mbind_vs_ksmd"):
        result = search(scenario, QUIET)
        assert result.marks["window_e"], scenario
        assert not result.marks["race_e"], scenario
        assert not result.unexplained(), scenario
