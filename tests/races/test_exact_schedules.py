# SPDX-License-Identifier: GPL-2.0-or-later
"""RACE-A, A2, D and E, step by step as the tables of the seed patch's specification draw them.

Each is run on the kernel that lacks the guard, where it ends in an effect, and the same turns on
the
full kernel, where the guard holds. RACE-B and RACE-C need swap and reclaim.
"""

from __future__ import annotations

from tests.campaigns import follow, without_actor

OFFLINE = without_actor("offline_vs_ksmd", "reader")
MERGE = without_actor("move_pages_vs_merge", "reader")

# K goes for its mutex; Mig then up to and including MM.2: count look done, copy not begun.
PAST_THE_COUNT_LOOK = ("ksmd@ksm_scan_thread.2", "hotplug@migrate_page_copy.1")
A = (
    *PAST_THE_COUNT_LOOK,
    "ksmd@stable_tree_search.2.3",  # GK.1-4 succeeded: K holds the old page
    "hotplug@putback_lru_page.1",  # MC.5, MC.7, MN.6, unlock
    "ksmd",
)
A2 = (*PAST_THE_COUNT_LOOK, "ksmd@cmp_and_merge_page.6", "hotplug")
D = (
    *PAST_THE_COUNT_LOOK,
    "ksmd@get_ksm_page.2",  # GK.1 read the old kpfn
    "hotplug@rmap_walk.1",  # MC.5 moved the node, MC.7 cleared the old word
    "ksmd@cmp_and_merge_page.8",  # GK.2 sees no key: RN destroys the live node
    "hotplug",
)
E = (
    "mover@unmap_and_move.17",  # the first, ordinary page is moved
    "mover@unmap_and_move.3",  # the second is isolated, not yet locked
    "ksmd@stable_tree_search.2.1",  # upgraded, inserted; the third page's search begins
    "mover@migrate_page_copy.1",  # migrates what is a KSM page now
    "ksmd@stable_tree_search.2.3",
    "mover@putback_lru_page.1",
    "ksmd",
)


def test_race_a_ends_at_the_assertion_of_page_add_anon_rmap() -> None:
    outcome = follow(OFFLINE, *A, without=["offline_locks_out_ksm"])
    assert "race_a" in outcome.marks
    assert "race_a2" not in outcome.marks
    assert "bugs:VM_BUG_ON@replace_page.3b" in outcome.signatures()


def test_race_a2_leaves_a_mapped_page_without_mapping() -> None:
    outcome = follow(OFFLINE, *A2, without=["offline_locks_out_ksm"])
    assert {"race_a", "race_a2"} <= set(outcome.marks)
    assert (
        "page_state:mapped-page-lost-mapping@migrate_page_copy.7<-replace_page.3b"
        in outcome.signatures()
    )


def test_race_d_destroys_the_node_of_a_live_page() -> None:
    outcome = follow(OFFLINE, *D, without=["offline_locks_out_ksm"])
    assert "race_d" in outcome.marks
    assert (
        "slab:use-after-free@rmap_walk_ksm.2<-remove_node_from_stable_tree.3"
        in outcome.signatures()
    )


def test_race_e_leads_to_race_a_under_a_numa_mover() -> None:
    outcome = follow(MERGE, *E, without=["recheck_ksm_under_page_lock"])
    assert {"race_e", "race_a"} <= set(outcome.marks)
    assert "bugs:VM_BUG_ON@replace_page.3b" in outcome.signatures()


def test_lockout_keeps_ksmd_from_every_one_of_the_offline_races() -> None:
    for turns in (A, A2, D):
        outcome = follow(OFFLINE, *turns)
        assert "window_offline" in outcome.marks
        assert not {"race_a", "race_a2", "race_d"} & set(outcome.marks)
        assert outcome.signatures() == ()


def test_recheck_under_the_page_lock_refuses_the_upgraded_page() -> None:
    outcome = follow(MERGE, *E)
    assert "window_e" in outcome.marks
    assert "race_e" not in outcome.marks
    assert outcome.signatures() == ()
