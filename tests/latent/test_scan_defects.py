# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of ksmd's scan and of registration, each with its later fix."""

from __future__ import annotations

from tests.latent.defects import EXIT, assert_defect, process, small, task


def test_the_only_slot_may_go_between_ksmds_two_looks_at_the_list() -> None:
    assert_defect(
        small(process("A", "7"), task("leaver", "A", EXIT)),
        "ksmd@scan_get_next_rmap_item.4",  # the list was not empty
        "leaver",
        "ksmd",
        signature="bugs:null-dereference@scan_get_next_rmap_item.6",
        fix="scan_rechecks_mm_list",
    )


def test_ksmd_releases_the_mmap_sem_of_an_mm_that_is_gone() -> None:
    assert_defect(
        small(process("A", '"-"'), task("leaver", "A", EXIT)),
        "ksmd@scan_get_next_rmap_item.12#2",  # the cursor has left A's slot, mmap_sem is held
        "leaver",
        "ksmd",
        signature="slab:use-after-free@scan_get_next_rmap_item.12#2<-mmput.3",
        fix="scan_drops_mmap_sem_first",
    )


def test_a_registration_that_saw_the_last_slot_does_not_wake_ksmd() -> None:
    newcomer = '{ op = "madvise", page = 0, advice = "MERGEABLE" }'
    quiet = process("B", "8").replace("mergeable = true", "mergeable = false")
    assert_defect(
        small(
            process("A", "7", "checksum = true") + quiet,
            task("leaver", "A", EXIT) + task("newcomer", "B", newcomer),
            ksm="batches = 3",
        ),
        "leaver",
        "newcomer@__ksm_enter.3",  # KE.2 saw A's slot: no wake-up needed
        "ksmd",  # forgets A's slot, finds the list empty, sleeps
        "newcomer",
        signature="progress:hung-task@ksm_scan_thread.7",
        fix="proposed_enter_looks_under_lock",
    )
