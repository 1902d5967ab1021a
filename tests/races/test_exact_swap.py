# SPDX-License-Identifier: GPL-2.0-or-later
"""RACE-B and RACE-C, step by step as the tables of the seed patch's specification draw them.

Both need swap and reclaim, and ksmd running while a KSM page is migrated: the kernel without the
lockout of ksmd. On the full kernel the same turns end well.
"""

from __future__ import annotations

from tests.campaigns import QUIET, follow, search, without_actor

SWAPCACHE = without_actor("offline_vs_swapcache", "reader")

B = (
    "ksmd@ksm_scan_thread.2",
    "hotplug@migrate_page_move_mapping.6",  # MM.5: the count is frozen at 0
    "ksmd@cmp_and_merge_page.8",  # GK.3 finds 0: RN destroys the node of a live page
    "hotplug",
)
C = (
    "ksmd@ksm_scan_thread.2",
    "unmapper",  # A's mapping goes, its item stays
    "hotplug@migrate_page_copy.1",  # count look done
    "ksmd",  # RT: RI.1 takes the old page, RI.3 waits for its lock
    "hotplug@scan_lru_pages.1",  # moved, both pages unlocked, the new one is on an LRU list
    "kswapd@page_referenced_ksm.3.1",  # walks the node's items under the new page's lock
    "ksmd",  # RI.4 under the old page's lock; RI.8 frees the anon_vma
    "kswapd",
)


def test_race_b_prunes_the_node_of_a_page_whose_count_is_frozen() -> None:
    outcome = follow(SWAPCACHE, *B, without=["offline_locks_out_ksm"])
    assert "race_b" in outcome.marks
    assert (
        "slab:use-after-free@ksm_migrate_page.2<-remove_node_from_stable_tree.3"
        in outcome.signatures()
    )


def test_race_c_walks_a_list_that_changes_under_another_pages_lock() -> None:
    outcome = follow("offline_vs_reclaim", *C, without=["offline_locks_out_ksm"])
    assert "race_c" in outcome.marks
    assert "locks:unguarded-access@remove_rmap_item_from_tree.4" in outcome.signatures()
    assert "slab:use-after-free@page_referenced_ksm.3.1<-drop_anon_vma.4" in outcome.signatures()


def test_lockout_keeps_ksmd_from_both() -> None:
    for scenario, turns in ((SWAPCACHE, B), ("offline_vs_reclaim", C)):
        outcome = follow(scenario, *turns)
        assert not {"race_b", "race_c"} & set(outcome.marks)
        assert outcome.signatures() == ()


def test_a_search_finds_race_b_and_race_c_without_the_lockout() -> None:
    b = search(
        "offline_vs_swapcache",
        400,
        without=["offline_locks_out_ksm"],
        until="slab:use-after-free@ksm_migrate_page.2",
    )
    assert any("race_b" in marks for marks in b.marks_with.values())
    c = search(
        "offline_vs_reclaim",
        400,
        without=["offline_locks_out_ksm"],
        until="locks:unguarded-access@remove_rmap_item_from_tree.4",
    )
    assert c.marks["race_c"]


def test_a_search_of_the_full_kernel_enters_the_windows_and_finds_nothing_new() -> None:
    for scenario in ("offline_vs_swapcache", "offline_vs_reclaim"):
        result = search(scenario, QUIET)
        assert result.marks["window_offline"], scenario
        assert not result.unexplained(), scenario
