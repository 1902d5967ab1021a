# SPDX-License-Identifier: GPL-2.0-or-later
"""The page state oracle keeps the ledgers of struct page and recounts at rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from ksmtrio.mm.mm_types import KSM_NULL, PTE_NONE, Page, Pte
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, MIGRATE_MOVABLE
from ksmtrio.mm.page_flags import (
    PG_LRU,
    PG_SWAPCACHE,
)
from ksmtrio.oracles.base import Finding
from ksmtrio.oracles.page_state import PageStateOracle
from ksmtrio.units import PAGE_SHIFT
from tests.unit.oracle_world import BASE, MERGED, World, cached

HERE = BASE << PAGE_SHIFT
SHARED = MERGED << PAGE_SHIFT


def world_of() -> World:
    world = World([PageStateOracle()])
    world.attach()
    return world


def run(world: World, *steps: Callable[[], object]) -> list[Finding]:
    """Run one actor that awaits each step in order."""

    async def body():
        for step in steps:
            await step()

    return world.run(task=body)


def test_sound_machine_is_silent_at_rest():
    assert world_of().rest() == []


def test_bad_page_ends_the_run():
    world = world_of()

    async def body():
        await world.rt.cond_resched("put_page.5")
        world.rt.notice(
            "bad-page", world.g.pages[0], "put_page.5", "BUG: Bad page state, pfn 0 freed"
        )

    (finding,) = world.run(task=body)
    assert finding.signature == "page_state:bad-page@put_page.5"
    assert finding.message == "BUG: Bad page state, pfn 0 freed"
    assert finding.corrupting


# -- the orders in which sound code changes counts and ptes -------------------------------------


def test_sound_orders_are_silent():
    """Anonymous fault, replacement by a KSM page, unmapping and restoring in migration, zap."""
    world = world_of()
    pages, a = world.g.pages, world.a
    new, ksm = pages[2], pages[1]
    cell = a.pte(HERE + (1 << PAGE_SHIFT))
    anon_vma = a._vmas[0].anon_vma.value
    assert anon_vma is not None
    world.use(2)
    assert not run(
        world,
        lambda: new.count.write("alloc_page.3", 1),
        lambda: new.mapcount.inc("do_anonymous_page.6"),
        lambda: new.mapping.write("do_anonymous_page.6", anon_vma.word),
        lambda: cell.write("do_anonymous_page.7", Pte("present", 2, write=True)),
        lambda: cell.write("write_protect_page.7", Pte("present", 2)),
        # replace_page.3
        lambda: ksm.count.inc("replace_page.3a"),
        lambda: ksm.mapcount.inc("replace_page.3b"),
        lambda: cell.write("replace_page.3c", PTE_NONE),
        lambda: cell.write("replace_page.3d", Pte("present", 1)),
        lambda: new.mapcount.dec("replace_page.3e"),
        lambda: new.count.dec("replace_page.3f"),
        # try_to_unmap_one.4, remove_migration_pte.4, of a locked page
        lambda: ksm.page_lock.lock("unmap_and_move.4"),
        lambda: cell.write("try_to_unmap_one.4a", PTE_NONE),
        lambda: cell.write("try_to_unmap_one.4d", Pte("migration", 1)),
        lambda: ksm.mapcount.dec("try_to_unmap_one.4e"),
        lambda: ksm.count.dec("try_to_unmap_one.4f"),
        lambda: ksm.count.inc("remove_migration_pte.4a"),
        lambda: cell.write("remove_migration_pte.4c", Pte("present", 1)),
        lambda: ksm.mapcount.inc("remove_migration_pte.4d"),
        lambda: ksm.page_lock.unlock("unmap_and_move.17"),
        # zap_pte_range
        lambda: cell.write("zap_pte_range.1", PTE_NONE),
        lambda: ksm.mapcount.dec("zap_pte_range.2"),
        lambda: ksm.count.dec("zap_pte_range.6"),
        lambda: new.mapping.write("put_page.4", None),
    )


# -- while actors run --------------------------------------------------------------------------


def test_count_below_ptes_is_reported():
    world = world_of()
    (finding,) = run(world, lambda: world.g.pages[1].count.dec("put_page.1"))
    assert finding.signature == "page_state:refcount-below-ptes@put_page.1"
    assert finding.message == ("BUG: page(pfn=1) in put_page.1: _count 1 is too low, 2 ptes map it")
    assert finding.corrupting


def test_mapping_a_free_page_is_reported():
    world = world_of()
    cell = world.a.pte(HERE + (1 << PAGE_SHIFT))
    (finding,) = run(world, lambda: cell.write("replace_page.3d", Pte("present", 3)))
    assert finding.kind == "refcount-below-ptes"


def test_negative_count_is_reported():
    world = world_of()
    (finding,) = run(world, lambda: world.g.pages[3].count.dec("put_page.1"))
    assert finding.signature == "page_state:refcount-underflow@put_page.1"


def test_last_writer_of_the_count_is_the_conflicting_access_of_a_mapper():
    world = world_of()
    page = world.g.pages[0]
    cell = world.b.pte(HERE)

    async def dropper():
        await page.count.inc("get_page.1")
        await page.count.dec("put_page.1")

    async def mapper():
        await cell.write("replace_page.3d", Pte("present", 0))

    (finding,) = world.run(dropper=dropper, mapper=mapper)
    assert finding.signature == "page_state:refcount-below-ptes@replace_page.3d<-put_page.1"
    assert finding.actors == ("mapper", "dropper")


def test_mapcount_underflow_is_reported():
    world = world_of()
    (finding,) = run(world, lambda: world.g.pages[3].mapcount.dec("page_remove_rmap.1"))
    assert finding.signature == "page_state:mapcount-underflow@page_remove_rmap.1"


def test_mapped_page_that_loses_its_mapping_is_reported():
    world = world_of()
    (finding,) = run(world, lambda: world.g.pages[1].mapping.write("migrate_page_copy.7", None))
    assert finding.signature == "page_state:mapped-page-lost-mapping@migrate_page_copy.7"
    assert "loses its mapping ksm:start/stable_node#1" in finding.message


def test_ksm_page_that_becomes_writable_is_reported():
    world = world_of()
    cell = world.a.pte(SHARED)
    (finding,) = run(world, lambda: cell.write("do_wp_page.1.3", Pte("present", 1, write=True)))
    assert finding.signature == "page_state:writable-ksm-page@do_wp_page.1.3"


def test_writable_page_that_becomes_ksm_is_reported():
    world = world_of()
    page = world.g.pages[0]
    (finding,) = run(world, lambda: page.mapping.write("try_to_merge_one_page.6", KSM_NULL))
    assert finding.signature == "page_state:writable-ksm-page@try_to_merge_one_page.6"


def test_unlock_with_migration_entries_left_is_noted_and_the_run_goes_on():
    world = world_of()
    page, cell = world.g.pages[1], world.a.pte(SHARED)
    (finding,) = run(
        world,
        lambda: page.page_lock.lock("unmap_and_move.4"),
        lambda: cell.write("try_to_unmap_one.4d", Pte("migration", 1)),
        lambda: page.page_lock.unlock("unmap_and_move.17"),
        lambda: world.rt.cond_resched("migrate_pages.2"),
    )
    assert finding.signature == "page_state:migration-entry-left@unmap_and_move.17"
    assert not finding.corrupting


# -- holders that are known at any time (I1, I3) ------------------------------------------------


def test_swap_cache_reference_counts():
    world = World([PageStateOracle()])
    page = cached(world)
    assert world.rest() == []
    (finding,) = run(world, lambda: page.count.dec("put_page.1"))
    assert finding.signature == "page_state:refcount-below-holders@put_page.1"


def test_putting_an_unreferenced_page_into_the_swap_cache_is_reported():
    world = world_of()
    page = world.g.pages[0]
    slot = world.g.swapper_space.slot(1)
    (finding,) = run(world, lambda: slot.write("add_to_swap.5#2", page))
    assert finding.signature == "page_state:refcount-below-holders@add_to_swap.5#2"


def test_pagevec_reference_counts_when_a_count_falls():
    world = world_of()
    page = world.g.pages[1]
    world.g.per_cpu[1]._lru_add[LRU_ACTIVE_ANON].append(page)
    page.count.value += 1
    (finding,) = run(world, lambda: page.count.dec("put_page.1"))
    assert finding.signature == "page_state:refcount-below-holders@put_page.1"


def frozen_steps(world: World, page: Page) -> list[Callable[[], Awaitable[object]]]:
    tree_lock = world.g.swapper_space.tree_lock

    async def unlock() -> None:
        tree_lock.unlock("__remove_mapping.3")

    return [
        lambda: page.page_lock.lock("shrink_page_list.1"),
        lambda: tree_lock.lock("__remove_mapping.1"),
        lambda: page.count.cmpxchg("__remove_mapping.2", 2, 0),
        lambda: page.count.write("__remove_mapping.3", 2),
        unlock,
        lambda: page.page_lock.unlock("shrink_page_list.9"),
    ]


def test_frozen_count_is_silent():
    world = World([PageStateOracle()])
    page = cached(world, 3)
    world.use(3)
    page.flags.value |= PG_SWAPCACHE
    page.count.value += 1
    world.attach()
    assert run(world, *frozen_steps(world, page)) == []


def test_freeze_without_tree_lock_is_reported():
    world = World([PageStateOracle()])
    page = cached(world)
    world.attach()
    (finding,) = run(world, lambda: page.count.cmpxchg("__remove_mapping.2", 2, 0))
    assert finding.kind == "refcount-below-ptes"


def test_get_page_of_a_free_page_is_reported():
    world = world_of()
    (finding,) = run(world, lambda: world.g.pages[3].count.inc("get_page.1"))
    assert finding.signature == "page_state:use-after-free-page@get_page.1"
    assert finding.corrupting


def test_speculative_reference_on_a_free_page_is_silent():
    world = world_of()
    assert run(world, lambda: world.g.pages[3].count.inc_not_zero("get_ksm_page.3")) == []


def test_looks_at_a_free_page_are_silent():
    world = world_of()
    page = world.g.pages[3]
    assert not run(
        world,
        lambda: page.mapping.read("get_ksm_page.2"),
        lambda: page.flags.test("scan_lru_pages.1", PG_LRU),
        lambda: page.mapping.write("put_page.4#2", None),
        lambda: page.private.write("put_page.6#2", 2),
    )


@pytest.mark.parametrize("value", [0, 5])
def test_content_of_a_free_page_is_not_written(value: int):
    world = world_of()
    page = world.g.pages[3]
    (finding,) = run(world, lambda: page.content[0].write("replace_page.3", value))
    assert finding.signature == "page_state:use-after-free-page@replace_page.3"
    assert "store to content[0] of page(pfn=3) by task" in finding.message


def test_content_of_a_free_page_is_not_read():
    world = world_of()
    page = world.g.pages[3]
    (finding,) = run(world, lambda: page.content[1].read("try_to_merge_one_page.7"))
    assert "load of content[1] of page(pfn=3) by task" in finding.message


def test_allocator_clears_a_page_before_it_has_a_count():
    world = world_of()
    page = world.g.pages[3]

    async def allocate() -> None:
        world.g.zones[0]._free_list[MIGRATE_MOVABLE].remove(page)
        await page.content[0].write("do_anonymous_page.2", 0)
        await page.count.write("do_anonymous_page.2#3", 1)

    assert run(world, allocate) == []


def test_mapping_word_of_a_free_page_is_not_set():
    world = world_of()
    (finding,) = run(world, lambda: world.g.pages[3].mapping.write("replace_page.3", KSM_NULL))
    assert finding.signature == "page_state:use-after-free-page@replace_page.3"


# -- the end of a pte-lock section (I2, I6) ------------------------------------------------------


def section(world: World, *steps: Callable[[], Awaitable[object]]) -> list[Finding]:
    """Run steps with A's pte lock held."""
    ptl = world.a.ptl(HERE)

    async def unlock() -> None:
        ptl.unlock("f.9")

    return run(world, lambda: ptl.lock("f.1"), *steps, unlock)


def test_pte_and_mapcount_that_change_together_are_silent():
    world = world_of()
    page, cell = world.g.pages[0], world.a.pte(HERE)
    assert not section(
        world,
        lambda: cell.write("zap_pte_range.1#2", PTE_NONE),
        lambda: page.mapcount.dec("zap_pte_range.2"),
    )


def test_mapcount_that_does_not_follow_its_pte_is_reported_at_the_end_of_the_section():
    world = world_of()
    cell = world.a.pte(HERE)
    (finding,) = section(world, lambda: cell.write("zap_pte_range.1#2", PTE_NONE))
    assert finding.signature == "page_state:mapcount-mismatch@f.9"
    assert "by -1 ptes" in finding.message


def test_pte_that_moves_under_two_locks_is_judged_at_the_second_unlock():
    world = world_of()
    old, far = world.a.pte(HERE), HERE + (512 << PAGE_SHIFT)
    new, second = world.a.pte(far), world.a.ptl(far)
    value = old.value

    async def unlock_second() -> None:
        second.unlock("move_ptes.8")

    assert not section(
        world,
        lambda: second.lock("move_ptes.2"),
        lambda: old.write("move_ptes.4", PTE_NONE),
        unlock_second,
        lambda: new.write("move_ptes.5", value),
    )


def test_bits_that_change_in_a_pte_are_silent():
    world = world_of()
    cell = world.a.pte(HERE)
    value = cell.value._replace(young=True, dirty=True)
    assert section(world, lambda: cell.write("handle_pte_fault.8", value)) == []


def test_writable_pte_of_a_shared_page_is_reported_at_the_end_of_the_section():
    world = World([PageStateOracle()])
    page = world.g.pages[0]
    world.a.pte(HERE).value = Pte("present", 0)
    world.map(world.b, BASE, page, write=False)
    world.attach()
    cell = world.a.pte(HERE)
    (finding,) = section(world, lambda: cell.write("do_wp_page.1.3", Pte("present", 0, write=True)))
    assert finding.signature == "page_state:writable-shared-page@f.9"


# -- locks, entries, contents (I4, I5, I7) -------------------------------------------------------


def test_migration_entry_of_an_unlocked_page_is_noted():
    world = world_of()
    cell = world.a.pte(SHARED)
    (finding,) = run(world, lambda: cell.write("move_ptes.5", Pte("migration", 1)))
    assert finding.kind == "migration-entry-of-unlocked-page"
    assert not finding.corrupting


def test_locking_a_free_page_is_reported():
    world = world_of()
    (finding,) = run(world, lambda: world.g.pages[3].page_lock.trylock("f.1"))
    assert finding.signature == "page_state:locked-page-unreferenced@f.1"


def test_dropping_the_last_reference_of_a_locked_page_is_reported():
    world = world_of()
    page = world.use(3)
    page.count.value = 1
    (finding,) = run(
        world,
        lambda: page.page_lock.trylock("f.1"),
        lambda: page.count.dec("put_page.1"),
    )
    assert finding.signature == "page_state:locked-page-unreferenced@put_page.1"


def test_content_of_a_ksm_page_that_changes_is_reported():
    world = world_of()
    half = world.g.pages[1].content[0]
    (finding,) = run(world, lambda: half.write("user.store", 43))
    assert finding.signature == "page_state:ksm-content-changed@user.store"


def test_migration_fills_a_page_that_carries_the_key():
    world = world_of()
    page = world.g.pages[1]
    assert not run(
        world,
        lambda: page.page_lock.trylock("move_to_new_page.1"),
        lambda: page.content[0].write("migrate_page_copy.1", 43),
        lambda: page.content[0].write("migrate_page_copy.1", 42),
        lambda: page.page_lock.unlock("move_to_new_page.7"),
    )
