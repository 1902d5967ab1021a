# SPDX-License-Identifier: GPL-2.0-or-later
"""The page state oracle at rest: everything is counted from scratch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ksmtrio.mm.ksm_types import StableNode
from ksmtrio.mm.mm_types import KSM_NULL, Pte
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, LRU_INACTIVE_ANON, MIGRATE_MOVABLE
from ksmtrio.mm.page_flags import (
    PG_BUDDY,
    PG_LOCKED,
    PG_LRU,
    PG_RESERVED,
    PG_SWAPCACHE,
    PG_WRITEBACK,
)
from ksmtrio.mm.swap_types import SWAP_HAS_CACHE
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


def slot_without_pte(world: World) -> None:
    world.g.swap._swap_map[1] = 1
    world.g.swap.nr_swap_pages.value -= 1


def pte_without_slot(world: World) -> None:
    world.b.pte(HERE).value = Pte("swap", 1)


def slot_without_cache(world: World) -> None:
    world.g.swap._swap_map[1] = SWAP_HAS_CACHE
    world.g.swap.nr_swap_pages.value -= 1


def cache_under_other_slot(world: World) -> None:
    cached(world).private.value = 2


def cache_without_flag(world: World) -> None:
    cached(world).flags.value &= ~PG_SWAPCACHE


def slot_not_counted(world: World) -> None:
    world.g.swap.nr_swap_pages.value -= 1


def cached_off_lru(world: World) -> None:
    page = cached(world, 3)
    world.g.zones[0]._free_list[MIGRATE_MOVABLE].remove(page)
    page.flags.value &= ~PG_BUDDY


def leak(world: World) -> None:
    world.g.pages[0].count.value += 1


def leak_unmapped(world: World) -> None:
    world.use(3).count.value = 1


def too_few(world: World) -> None:
    world.g.pages[1].count.value -= 1


def mapcount_off(world: World) -> None:
    world.g.pages[1].mapcount.value += 1


def locked(world: World) -> None:
    world.g.pages[0].flags.value |= PG_LOCKED


def under_writeback(world: World) -> None:
    world.g.pages[0].flags.value |= PG_WRITEBACK


def entry_left(world: World) -> None:
    world.b.pte(HERE).value = Pte("migration", 0)


def isolated(world: World) -> None:
    page = world.g.pages[0]
    page.flags.value &= ~PG_LRU
    world.g.zones[0]._lru_list[LRU_ACTIVE_ANON].remove(page)


def on_two_lists(world: World) -> None:
    world.g.zones[0]._lru_list[LRU_INACTIVE_ANON].append(world.g.pages[0])


def lru_without_flag(world: World) -> None:
    world.g.pages[0].flags.value &= ~PG_LRU


def free_but_used(world: World) -> None:
    world.g.zones[0]._free_list[MIGRATE_MOVABLE].append(world.g.pages[0])


def lost(world: World) -> None:
    world.g.zones[0]._free_list[MIGRATE_MOVABLE].remove(world.g.pages[3])


def freed_twice(world: World) -> None:
    world.g.per_cpu[0]._pcp.append(world.g.pages[3])


def no_mapping(world: World) -> None:
    world.g.pages[0].mapping.value = None


def dead_node(world: World) -> None:
    world.node.die("freed", "remove_node_from_stable_tree.3")


def dead_anon_vma(world: World) -> None:
    world.g.anon_vmas[0].die("freed", "anon_vma_unlink.1")


def writable_ksm(world: World) -> None:
    world.a.pte(SHARED).value = Pte("present", 1, write=True)


def writable_shared(world: World) -> None:
    page = world.g.pages[0]
    world.map(world.b, BASE, page, write=False)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (leak, "refcount-leak"),
        (leak_unmapped, "refcount-leak"),
        (too_few, "refcount-mismatch"),
        (mapcount_off, "mapcount-mismatch"),
        (locked, "page-left-locked"),
        (under_writeback, "page-left-locked"),
        (entry_left, "migration-entry-left"),
        (isolated, "mapped-page-not-on-lru"),
        (on_two_lists, "lru-mismatch"),
        (lru_without_flag, "lru-mismatch"),
        (free_but_used, "free-page-in-use"),
        (lost, "free-list-mismatch"),
        (freed_twice, "free-list-mismatch"),
        (no_mapping, "mapped-page-without-mapping"),
        (dead_node, "dangling-mapping"),
        (dead_anon_vma, "dangling-mapping"),
        (writable_ksm, "writable-ksm-page"),
        (writable_shared, "writable-shared-page"),
        (slot_without_pte, "swap-count-mismatch"),
        (pte_without_slot, "swap-count-mismatch"),
        (slot_without_cache, "swap-cache-mismatch"),
        (cache_under_other_slot, "swap-cache-mismatch"),
        (cache_without_flag, "swap-cache-mismatch"),
        (slot_not_counted, "nr-swap-pages-mismatch"),
        (cached_off_lru, "anon-page-not-on-lru"),
    ],
)
def test_bad_state_at_rest_is_reported(spoil: Callable[[World], None], kind: str):
    world = world_of()
    spoil(world)
    (finding,) = world.rest()
    assert finding.kind == kind
    assert finding.point == "quiescence"


def test_dangling_mapping_names_the_place_of_the_free():
    world = world_of()
    dead_node(world)
    (finding,) = world.rest()
    assert finding.signature == (
        "page_state:dangling-mapping@quiescence<-remove_node_from_stable_tree.3"
    )


def test_pagevec_entries_hold_a_reference():
    world = world_of()
    page = world.g.pages[0]
    page.flags.value &= ~PG_LRU
    world.g.zones[0]._lru_list[LRU_ACTIVE_ANON].remove(page)
    world.g.per_cpu[0]._lru_add[LRU_ACTIVE_ANON].append(page)
    page.count.value += 1
    assert [finding.kind for finding in world.rest()] == ["mapped-page-not-on-lru"]


@pytest.mark.parametrize("kept", [True, False])
def test_references_of_the_start_state_may_stay_or_go(*, kept: bool):
    world = World([PageStateOracle()])
    page = world.g.pages[7]
    world.g.zones[1]._free_list[MIGRATE_MOVABLE].remove(page)
    page.flags.value = PG_RESERVED
    page.count.value = 1
    world.attach()
    if not kept:
        page.count.value = 0
        page.flags.value = 0
        world.g.per_cpu[0]._pcp.append(page)
    assert world.rest() == []


def test_ksm_page_without_node_is_not_blamed_here():
    world = world_of()
    world.g.pages[1].mapping.value = KSM_NULL
    assert world.rest() == []


def test_unknown_node_that_lives_is_not_blamed_here():
    world = world_of()
    world.g.pages[1].mapping.value = StableNode(world.rt, world.g.ksm, {}).word
    assert world.rest() == []


def test_frames_of_a_removed_section_are_not_judged():
    world = world_of()
    page = world.g.pages[7]
    page.count.value = 5
    page.die("removed", "remove_section.3")
    assert world.rest() == []


def test_zero_page_ptes_count_for_nothing():
    world = world_of()
    cell = world.a.pte(HERE + (1 << PAGE_SHIFT))
    zero = Pte("present", -2, young=True, special=True)
    assert run(world, lambda: cell.write("do_anonymous_page.zero.3", zero)) == []
    assert world.rest() == []
