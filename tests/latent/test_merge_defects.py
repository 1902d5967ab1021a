# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of merging and of breaking merges up, each with its later fix."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from ksmtrio.mm.mm_types import VM_MERGEABLE, VM_READ, VM_WRITE, Vma
from ksmtrio.scenario import load_scenario
from ksmtrio.scenario.schema import Scenario
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, ksm, turns
from tests.kernel_world import process as process_of
from tests.latent.defects import FORKED, assert_defect, fork


def only_the_advice() -> Scenario:
    """Return offline_vs_unmerge with nothing after the madvise that would break the page up."""
    scenario = load_scenario("offline_vs_unmerge")
    actors = tuple(
        attrs.evolve(actor, program=actor.program[:1]) if actor.name == "advised" else actor
        for actor in scenario.actors
    )
    return attrs.evolve(scenario, actors=actors)


def test_l2_break_ksm_passes_over_a_migration_entry() -> None:
    shown = assert_defect(
        only_the_advice(),
        "hotplug@move_to_new_page.1",  # migration entries are in place
        "advised",  # UNMERGEABLE finds nothing to break
        "hotplug",
        signature="stable_tree:ksm-page-in-unmergeable-vma@quiescence",
        fix="break_ksm_waits_for_migration",
        after_it="rmap:unfindable-ksm-mapping@quiescence",  # ksmd drops the items of such an area
    )
    assert "break_ksm_meets_migration_entry" in shown.marks


def test_l7_an_undone_upgrade_leaves_the_forks_mapping_ksm_without_node() -> None:
    assert_defect(
        FORKED,
        "ksmd@try_to_merge_one_page.9",  # A's page is KSM(NULL) now
        "writer",  # B's page differs from now on: step 2 of the merge fails
        "ksmd",
        signature="stable_tree:ksm-page-without-node@quiescence",
        fix="proposed_insert_before_upgrade",
    )


def remapped_before_the_merge(**kernel: Any) -> KernelWorld:
    """Put a fresh vma in the place of a KSM page's, after ksmd has taken a reference on the page.

    As munmap, mmap of the same address and madvise(MERGEABLE) by the process itself.
    """

    async def ksmd(w: KernelWorld) -> None:
        await w.batch(2)

    async def remapper(w: KernelWorld) -> None:
        mm, start = w.mm("fork"), w.address("fork:0")
        assert await w.munmap("fork:0", 1) == 0
        await mm.mmap_sem.down_write(AT)
        fresh = VM_READ | VM_WRITE | VM_MERGEABLE
        mm.vmas = (Vma(w.rt, mm, start, start + PAGE_SIZE, flags=fresh),)
        await mm.mmap_sem.up_write(AT)

    schedule = turns(
        "ksmd@try_to_merge_with_ksm_page.1",  # the forked KSM page has been found
        "remapper",
        "ksmd",
    )
    world = KernelWorld(
        ksm(["A:0", "B:0"], cursor="fork:0"),
        process_of("A", 7, mergeable=True),
        process_of("B", 7, mergeable=True),
        fork("fork", "A"),
        actors=("ksmd", "remapper"),
        strategy=schedule,
        **kernel,
    )
    return world.go(ksmd, remapper)


def test_l8_an_anon_vma_is_held_that_the_fresh_vma_has_not() -> None:
    world = remapped_before_the_merge()
    assert [finding.signature for finding in world.findings.all()] == [
        "bugs:null-dereference@hold_anon_vma.2"
    ]


@pytest.mark.parametrize(
    "kernel", [{"with_": ["merge_wants_mergeable_vma"]}, {"kernel": "latest-fixes"}]
)
def test_l8_a_vma_without_anon_vma_takes_no_part_in_merging(kernel: dict[str, Any]) -> None:
    assert remapped_before_the_merge(**kernel).found == []
