# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of pageblock isolation and the free lists, each with its later fix."""

from __future__ import annotations

from tests.latent.defects import OFFLINE, UNMAP, assert_defect, process, small, task


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
    veto = '[[notifier]]\nname = "balloon"\npriority = 1\nveto = true\n'
    assert_defect(
        small(process("A", "7"), veto + task("unmapper", "A", UNMAP) + OFFLINE),
        "ksmd",
        "hotplug@unset_migratetype_isolate.1",  # the veto is in; the block is still isolated
        "unmapper@put_page.6#3",  # read ISOLATE, on its way to that list
        "hotplug",
        "unmapper",
        signature="frames:page-lost-to-isolation@quiescence",
        fix="free_rechecks_migratetype",
    )
