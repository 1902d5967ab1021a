# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of page migration, each with its later fix."""

from __future__ import annotations

from typing import Any

import pytest

from ksmtrio.mm.mm_types import PTE_NONE, Vma
from ksmtrio.uapi import uaccess
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, machine, turns
from tests.kernel_world import process as in_world
from tests.latent.defects import UNMAPPED, assert_defect, process, small, task


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


def moved_meanwhile(**kernel: Any) -> KernelWorld:
    """Let a pte move to another vma, as in mremap's move_ptes(), while entries are put back."""

    async def mover(w: KernelWorld) -> None:
        mm, old = w.mm("A"), w.address("A:0")
        new = old + 16 * PAGE_SIZE
        await mm.mmap_sem.down_write(AT)
        (vma,) = mm.vmas
        anon_vma = vma.anon_vma.value
        assert anon_vma is not None
        target = Vma(
            w.rt, mm, new, new + PAGE_SIZE, flags=vma.vm_flags, pgoff=vma.linear_page_index(old)
        )
        await anon_vma.lock.lock(AT)
        target.anon_vma.write_in_step(AT, anon_vma)
        anon_vma.head.append(target)
        anon_vma.lock.unlock(AT)
        mm.vmas = (vma, target)
        await w.rt.cond_resched("now.1")
        ptl = mm.ptl(old)
        assert ptl is mm.ptl(new)
        await ptl.lock(AT)
        entry = await mm.pte(old).read(AT)
        await mm.pte(old).write(AT, PTE_NONE)
        await mm.pte(new).write("now.2", entry)
        for watcher in w.g.user_access:
            watcher.moved(mm, old, new)
        ptl.unlock(AT)
        await mm.mmap_sem.up_write(AT)
        w.log.append(entry.kind)
        w.log.append(await uaccess.load(w.g, mm, new, 0))

    async def hotplug(w: KernelWorld) -> None:
        await w.offline(1)

    schedule = turns(
        "mover@now.1",
        "hotplug@remove_migration_pte.2" if kernel else "hotplug@remove_migration_pte.1",
        "mover@now.2",  # cleared in the old place, not yet set in the new one
        "hotplug",
        "mover",
    )
    world = KernelWorld(
        machine(pages_per_block=4),
        in_world("A", 7, block=1),
        actors=("mover", "hotplug"),
        strategy=schedule,
        **kernel,
    )
    return world.go(mover, hotplug, rest=False)


def test_l2b_a_migration_entry_that_mremap_moves_is_never_replaced() -> None:
    world = moved_meanwhile()
    assert world.log == ["migration"]
    assert [finding.signature for finding in world.findings.all()] == [
        "page_state:migration-entry-of-unlocked-page@now.2<-__offline_isolated_pages.4",
        "bugs:BUG_ON@migration_entry_wait.3",
    ]


@pytest.mark.parametrize(
    "kernel", [{"with_": ["remove_migration_pte_locks_first"]}, {"kernel": "latest-fixes"}]
)
def test_l2b_under_the_pte_lock_it_is_found_in_one_place_or_the_other(
    kernel: dict[str, Any],
) -> None:
    world = moved_meanwhile(**kernel)
    assert world.log == ["migration", (0, 7)]
    assert world.found == []


def test_a_status_query_looks_at_a_page_whose_section_is_gone() -> None:
    hotplug = task(
        "hotplug", "", '{ op = "offline", block = 1 }', '{ op = "remove_section", block = 1 }'
    )
    assert_defect(
        small(
            process("A", "7"), hotplug + task("asker", "A", '{ op = "query_pages", pages = [0] }')
        ),
        "ksmd",
        "asker@do_pages_stat_array.5",  # has read the pte
        "hotplug",  # moves the page, takes the block offline, removes it
        "asker",
        signature="frames:use-after-offline@do_pages_stat_array.5<-remove_section.3",
        fix="pages_stat_holds_the_page",
    )
