# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of ksmd's scan and of registration, each with its later fix."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel_world import KernelWorld, process
from tests.latent.defects import (
    INTERRUPTED,
    LAST_SLOT,
    LEFT_MM,
    ONLY_SLOT,
    UNMERGED_MM,
    assert_defect,
)


def test_the_only_slot_may_go_between_ksmds_two_looks_at_the_list() -> None:
    assert_defect(
        ONLY_SLOT,
        "ksmd@scan_get_next_rmap_item.4",  # the list was not empty
        "leaver",
        "ksmd",
        signature="bugs:null-dereference@scan_get_next_rmap_item.6",
        fix="scan_rechecks_mm_list",
    )


def test_ksmd_releases_the_mmap_sem_of_an_mm_that_is_gone() -> None:
    assert_defect(
        LEFT_MM,
        "ksmd@scan_get_next_rmap_item.12#2",  # the cursor has left A's slot, mmap_sem is held
        "leaver",
        "ksmd",
        signature="slab:use-after-free@scan_get_next_rmap_item.12#2<-mmput.3",
        fix="scan_drops_mmap_sem_first",
    )


def test_unmerging_releases_the_mmap_sem_of_an_mm_that_is_gone() -> None:
    assert_defect(
        UNMERGED_MM,
        "writer@unmerge_and_remove_all_rmap_items.8",  # the cursor has left A's slot
        "leaver",
        "writer",
        signature="slab:use-after-free@unmerge_and_remove_all_rmap_items.8<-mmput.3",
        fix="scan_drops_mmap_sem_first",
    )


def test_an_interrupted_unmerging_leaves_items_of_an_unstable_tree_that_is_forgotten() -> None:
    assert_defect(
        INTERRUPTED,
        "ksmd@ksm_scan_thread.7#2",  # A's and B's items are in the unstable tree, C's turn is next
        "writer@unmerge_ksm_pages.2",
        "killer@run_store.2",
        "writer",  # gives up at A: the cursor is at the head
        "killer",
        "ksmd",  # begins anew, and takes A's item out of the tree
        signature="bugs:null-dereference@remove_rmap_item_from_tree.8#2",
        fix="proposed_unstable_tree_lasts_as_long_as_seqnr",
    )


def test_a_registration_that_saw_the_last_slot_does_not_wake_ksmd() -> None:
    assert_defect(
        LAST_SLOT,
        "leaver",
        "newcomer@__ksm_enter.3",  # KE.2 saw A's slot: no wake-up needed
        "ksmd",  # forgets A's slot, finds the list empty, sleeps
        "newcomer",
        signature="progress:hung-task@ksm_scan_thread.7",
        fix="proposed_enter_looks_under_lock",
    )


def merged_after_a_fault(**kernel: Any) -> tuple[int, int, int, int]:
    """Let ksmd scan three times two equal pages that were written to just before."""

    async def body(w: KernelWorld) -> None:
        for ref in ("A:0", "B:0"):
            assert await w.store(ref, 7) == 0
        for _ in range(3):
            await w.batch(100)

    mergeable: dict[str, Any] = {"mergeable": True}
    world = KernelWorld(process("A", "-", **mergeable), process("B", "-", **mergeable), **kernel)
    return world.go(body).counters()


def test_l4_pages_in_a_pagevec_are_never_merged() -> None:
    assert merged_after_a_fault()[:2] == (0, 0)


@pytest.mark.parametrize(
    "kernel", [{"with_": ["scan_drains_pagevecs"]}, {"kernel": "latest-fixes"}]
)
def test_l4_a_full_scan_that_drains_merges_them(kernel: dict[str, Any]) -> None:
    assert merged_after_a_fault(**kernel)[:2] == (1, 1)
