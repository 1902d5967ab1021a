# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `search_returns_page` (hunks 6-8, 10, 11): a refactoring while migration is locked out."""

from __future__ import annotations

from tests.campaigns import QUIET, follow, search, without_actor


def test_rereading_the_node_does_no_harm_under_the_lockout() -> None:
    for scenario in ("offline_vs_ksmd", "offline_vs_exit"):
        assert not search(scenario, QUIET, without=["search_returns_page"]).unexplained(), scenario


def test_without_the_lockout_the_wrong_page_is_put() -> None:
    """K takes a reference on P; P moves to N; K reads kpfn again and puts N."""
    turns = (
        "ksmd@ksm_scan_thread.2",
        "hotplug@migrate_page_copy.1",
        "ksmd@cmp_and_merge_page.2",
        "hotplug@putback_lru_page.1",
        "ksmd",
    )
    switches = ["search_returns_page", "offline_locks_out_ksm"]
    scenario = without_actor("offline_vs_ksmd", "reader")
    outcome = follow(scenario, *turns, without=switches)
    assert any(s.startswith("page_state:refcount") for s in outcome.signatures())
