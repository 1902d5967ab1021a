# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `offline_locks_out_ksm` (hunk 12c): ksmd must be locked out while KSM pages migrate."""

from __future__ import annotations

from tests.campaigns import QUIET, Search, search


def shown(result: Search) -> set[str]:
    """Return the races of whose executions something worse than an unguarded access is known."""
    return {
        mark
        for signature, marks in result.marks_with.items()
        if not signature.startswith("locks:unguarded-access")
        for mark in marks
        if mark in ("race_a", "race_a2", "race_d")
    }


def test_without_the_lockout_several_different_races_show_their_effects() -> None:
    result = search(
        "offline_vs_ksmd",
        2_500,
        without=["offline_locks_out_ksm"],
        until=lambda found: len(shown(found)) >= 2 and "slab:use-after-free" in found.kinds(),
    )
    assert len(shown(result)) >= 2
    assert "slab:use-after-free" in result.kinds()


def test_with_it_the_window_is_entered_and_nothing_happens() -> None:
    result = search("offline_vs_ksmd", QUIET)
    assert result.marks["window_offline"]
    assert not result.unexplained()
