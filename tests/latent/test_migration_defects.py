# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of page migration, each with its later fix."""

from __future__ import annotations

from tests.latent.defects import UNMAPPED, assert_defect


def test_l5_the_walk_of_an_unmapped_page_locks_a_freed_anon_vma() -> None:
    assert_defect(
        UNMAPPED,
        "ksmd",
        "hotplug@unmap_and_move.2",  # A's page is isolated
        "unmapper@zap_pte_range.6/put_page",  # unmapped, its anon_vma freed, its reference kept
        "hotplug",
        signature="slab:use-after-free@rmap_walk_anon.2<-do_munmap.3",
        fix="migrate_skips_unmapped_anon",
    )
