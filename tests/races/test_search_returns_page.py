# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `search_returns_page` (hunks 6-8, 10, 11): a refactoring while migration is locked out."""

from __future__ import annotations

from tests.campaigns import search


def test_rereading_the_node_does_no_harm_under_the_lockout() -> None:
    for scenario in ("offline_vs_ksmd", "offline_vs_exit"):
        assert not search(scenario, 200, without=["search_returns_page"]).signatures, scenario


def test_without_the_lockout_the_wrong_page_is_put() -> None:
    switches = ["search_returns_page", "offline_locks_out_ksm"]
    result = search("offline_vs_ksmd", 1_500, without=switches)
    assert any(s.startswith("page_state:") for s in result.signatures)
