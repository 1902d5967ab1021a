# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames oracle sees uses of offlined frames and accesses to removed memmaps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from ksmtrio.mm.mm_types import Page, Pte
from ksmtrio.mm.mmzone import LRU_INACTIVE_ANON, MIGRATE_ISOLATE
from ksmtrio.mm.page_flags import PG_BUDDY, PG_LRU, PG_RESERVED
from ksmtrio.oracles.frames import FramesOracle
from ksmtrio.units import PAGE_SHIFT
from tests.unit.oracle_world import BASE, World

AT = "memory_block_change_state.4"


def offlined(world: World):
    """Return the body of an actor that sets block 1's state."""

    async def body():
        await world.memory_blocks[1].state.write(AT, "offline")

    return body


def test_sound_offline_is_silent():
    world = World([FramesOracle()])
    world.take_offline(1)
    assert world.run(hotplug=offlined(world)) == []
    assert world.rest() == []


def map_it(world: World, page: Page) -> None:
    world.b.pte((BASE + 3) << PAGE_SHIFT).value = Pte("present", page.pfn)


def migrate_it(world: World, page: Page) -> None:
    world.b.pte((BASE + 3) << PAGE_SHIFT).value = Pte("migration", page.pfn)


def on_lru(world: World, page: Page) -> None:
    world.g.zones[1]._lru_list[LRU_INACTIVE_ANON].append(page)


def on_free_list(world: World, page: Page) -> None:
    world.g.zones[1]._free_list[MIGRATE_ISOLATE].append(page)


def on_pagevec(world: World, page: Page) -> None:
    world.g.per_cpu[1]._lru_add[LRU_INACTIVE_ANON].append(page)


def on_pcp(world: World, page: Page) -> None:
    world.g.per_cpu[0]._pcp.append(page)


def in_swap_cache(world: World, page: Page) -> None:
    world.g.swapper_space.slot(1).value = page


def referenced(_world: World, page: Page) -> None:
    page.count.value = 1


def with_mapcount(_world: World, page: Page) -> None:
    page.mapcount.value = 0


def with_mapping(world: World, page: Page) -> None:
    page.mapping.value = world.node.word


def not_reserved(_world: World, page: Page) -> None:
    page.flags.value = 0


def with_lru_flag(_world: World, page: Page) -> None:
    page.flags.value = PG_RESERVED | PG_LRU


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (map_it, "is in a present pte of mm(B) at 0x13000"),
        (migrate_it, "is in a migration pte of mm(B) at 0x13000"),
        (on_lru, "is on zone(nid=1)'s inactive_anon list"),
        (on_free_list, "is on zone(nid=1)'s free list 4"),
        (on_pagevec, "is on cpu(1)'s inactive_anon pagevec"),
        (on_pcp, "is on cpu(0)'s free list"),
        (in_swap_cache, "is on the swap cache"),
        (referenced, "has _count 1"),
        (with_mapcount, "has _mapcount 0"),
        (with_mapping, "has mapping ksm:start/stable_node#1"),
        (not_reserved, "has flags 0"),
        (with_lru_flag, "has flags PG_lru|PG_reserved"),
    ],
)
def test_use_of_offlined_frame_is_reported_when_the_block_goes_offline(
    spoil: Callable[[World, Page], None], what: str
):
    world = World([FramesOracle()])
    world.take_offline(1)
    spoil(world, world.g.pages[6])
    (finding,) = world.run(hotplug=offlined(world))
    assert finding.signature == f"frames:offlined-frame-in-use@{AT}"
    assert finding.message == f"BUG: offlined frame in use: page(pfn=6) of section(1) {what}"
    assert finding.corrupting


def test_use_of_offlined_frame_is_reported_at_rest():
    world = World([FramesOracle()])
    world.take_offline(1)
    world.run(hotplug=offlined(world))
    map_it(world, world.g.pages[6])
    (finding,) = world.rest()
    assert finding.point == "quiescence"


def test_allocation_of_offlined_frame_is_reported():
    world = World([FramesOracle()])
    world.take_offline(1)
    page = world.g.pages[5]

    async def body():
        await page.count.write("alloc_page.3", 1)

    (finding,) = world.run(allocator=body)
    assert finding.kind == "offlined-frame-allocated"
    assert "page(pfn=5)" in finding.message


def test_onlining_may_revive_the_frames():
    world = World([FramesOracle()])
    world.take_offline(1)
    page = world.g.pages[5]

    async def body():
        await page.flags.clear("online_pages.2", PG_RESERVED)
        await page.count.write("online_pages.2#2", 1)

    assert world.run(hotplug=body) == []


def test_read_of_removed_memmap_is_reported():
    world = World([FramesOracle()])
    world.take_offline(1)
    page = world.g.pages[5]

    async def remover():
        await offlined(world)()
        page.die("removed", "remove_section.3")

    async def ksmd():
        await world.rt.cond_resched("ksm_do_scan.1")
        await page.mapping.read("get_ksm_page.2")

    (finding,) = world.run(hotplug=remover, ksmd=ksmd)
    assert finding.signature == "frames:use-after-offline@get_ksm_page.2<-remove_section.3"
    assert finding.message == (
        "BUG: KASAN: use-after-offline in get_ksm_page.2: read of page(pfn=5).mapping by ksmd; "
        "memmap removed by hotplug at remove_section.3"
    )


def test_state_of_removed_memmap_is_not_looked_at():
    world = World([FramesOracle()])
    world.take_offline(1)
    world.memory_blocks[1].state.value = "offline"
    page = world.g.pages[5]
    page.count.value = 9
    page.die("removed", "remove_section.3")
    assert world.rest() == []


# -- I8: frames of isolated pageblocks -----------------------------------------------------------


def isolated_world() -> World:
    world = World([FramesOracle()])
    world.g.sections[1].migratetypes[1].value = MIGRATE_ISOLATE
    return world


def handed_out(page: Page):
    async def body():
        await page.flags.clear("do_wp_page.5", PG_BUDDY)
        await page.count.write("do_wp_page.5#3", 1)

    return body


def test_frame_of_an_isolated_pageblock_that_is_handed_out_is_noted():
    world = isolated_world()
    (finding,) = world.run(task=handed_out(world.g.pages[6]))
    assert finding.signature == "frames:isolated-frame-allocated@alloc_page"
    assert "page(pfn=6)" in finding.message
    assert not finding.corrupting


def test_frame_taken_before_the_pageblock_was_isolated_is_silent():
    world = World([FramesOracle()])
    page, migratetype = world.g.pages[6], world.g.sections[1].migratetypes[1]

    async def body():
        await page.flags.clear("do_wp_page.5", PG_BUDDY)
        await migratetype.write("start_isolate_page_range.2", MIGRATE_ISOLATE)
        await page.count.write("do_wp_page.5#3", 1)

    assert world.run(task=body) == []


def test_other_frames_and_offlined_ones_leave_the_buddy_lists_silently():
    world = isolated_world()
    pages = world.g.pages

    async def offliner():
        await pages[6].flags.clear("__offline_isolated_pages.3", PG_BUDDY)
        await pages[6].flags.set("__offline_isolated_pages.4", PG_RESERVED)

    assert world.run(task=handed_out(pages[4]), hotplug=offliner) == []


# -- I32, I33: what an offline leaves behind -----------------------------------------------------

BACK = "memory_block_change_state.3#2"


def failing(world: World, *, spoil: Callable[[], Awaitable[object]] | None = None):
    """Return the body of an actor whose offline of block 1 fails."""

    async def body():
        state = world.memory_blocks[1].state
        await state.write("memory_block_change_state.3", "going-offline")
        if spoil is not None:
            await spoil()
        await state.write(BACK, "online")

    return body


def test_offline_that_fails_and_undoes_everything_is_silent():
    world = World([FramesOracle()])
    assert world.run(hotplug=failing(world)) == []


def test_pageblock_left_isolated_by_a_failed_offline_is_noted():
    world = World([FramesOracle()])
    cell = world.g.sections[1].migratetypes[0]
    spoil = failing(world, spoil=lambda: cell.write("start_isolate_page_range.2", MIGRATE_ISOLATE))
    (finding,) = world.run(hotplug=spoil)
    assert finding.signature == f"frames:pageblock-left-isolated@{BACK}"
    assert not finding.corrupting


def test_migration_entry_left_by_a_failed_offline_is_reported():
    world = World([FramesOracle()])
    cell = world.b.pte((BASE + 3) << PAGE_SHIFT)
    spoil = failing(world, spoil=lambda: cell.write("try_to_unmap_one.4d", Pte("migration", 6)))
    (finding,) = world.run(hotplug=spoil)
    assert finding.signature == f"frames:migration-entry-left@{BACK}"


def test_migration_entry_of_somebody_else_is_not_the_offliners():
    world = World([FramesOracle()])
    cell = world.b.pte((BASE + 3) << PAGE_SHIFT)

    async def mover():
        await cell.write("try_to_unmap_one.4d", Pte("migration", 6))

    assert world.run(mover=mover, hotplug=failing(world)) == []


@pytest.mark.parametrize("outcome", ["online", "offline"])
def test_mutex_kept_after_an_offline_is_noted(outcome: str):
    world = World([FramesOracle()])
    if outcome == "offline":
        world.take_offline(1)

    async def body():
        state = world.memory_blocks[1].state
        await state.write("memory_block_change_state.3", "going-offline")
        await world.g.ksm.ksm_thread_mutex.lock("ksm_memory_callback.1")
        await state.write(AT, outcome)

    (finding,) = world.run(hotplug=body)
    assert finding.signature == f"frames:mutex-held-after-offline@{AT}"
    assert not finding.corrupting
