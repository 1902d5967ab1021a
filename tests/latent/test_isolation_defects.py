# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of pageblock isolation and the free lists, each with its later fix."""

from __future__ import annotations

from tests.latent.defects import REFILLED, VETOED, assert_defect


def test_a_page_that_is_half_freed_passes_the_check_and_trips_the_bug_on() -> None:
    assert_defect(
        "offline_vs_exit",
        "hotplug@offline_pages.8",  # the block is isolated
        "task_a@put_page.6#3",  # count 0, private ISOLATE, not on the buddy list yet
        "hotplug",
        signature="bugs:BUG_ON@__offline_isolated_pages.2#2",
        fix="isolated_means_buddy",
    )


def test_a_page_freed_while_isolation_is_undone_is_lost() -> None:
    assert_defect(
        VETOED,
        "ksmd",
        "hotplug@unset_migratetype_isolate.1",  # the veto is in; the block is still isolated
        "unmapper@put_page.6#3",  # read ISOLATE, on its way to that list
        "hotplug",
        "unmapper",
        signature="frames:page-lost-to-isolation@quiescence",
        fix="free_rechecks_migratetype",
    )


def test_a_frame_drained_to_the_old_list_is_handed_out_although_its_block_is_isolated() -> None:
    assert_defect(
        REFILLED,
        "unmapper",  # the frame is on its CPU's list, as a MOVABLE one
        "hotplug@__offline_isolated_pages.1",  # drained to the MOVABLE list: the check is content
        "toucher",  # gets that frame
        "hotplug",
        signature="frames:isolated-frame-allocated@alloc_page<-start_isolate_page_range.2",
        after_it="bugs:BUG_ON@__offline_isolated_pages.2",
        fix="drain_rechecks_migratetype",
    )
