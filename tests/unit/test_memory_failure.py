# SPDX-License-Identifier: GPL-2.0-or-later
"""Soft offline: mm/memory_failure.py, and what the allocator does with the page afterwards."""

from __future__ import annotations

from errno import EBUSY, EIO, ENOMEM, ENXIO

import pytest

from ksmtrio.base.memory import store_soft_offline_page
from ksmtrio.mm.memory_failure import soft_offline_page
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.mmzone import MIGRATE_ISOLATE, MIGRATE_MOVABLE
from ksmtrio.mm.page_alloc import alloc_page
from ksmtrio.mm.page_flags import PG_BUDDY, PG_HWPOISON, PG_LRU, PG_WRITEBACK
from ksmtrio.mm.swap import get_page, lru_add_drain, put_page
from ksmtrio.mm.vmscan_reclaim import balance_pgdat
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE
from tests.kernel_world import (
    AT,
    KernelWorld,
    Log,
    Shot,
    ksm,
    machine,
    notifier,
    process,
    run,
    turns,
)
from tests.swap_world import ROUNDS_MAX, swap_to_cache, with_device

SMALL = machine(nodes=1, blocks_per_node=1, pages_per_block=4)


def free_lists(w: KernelWorld, page: Page) -> int:
    """Return how many free lists a page is on."""
    buddy = sum(list(f).count(page) for z in w.g.zones.values() for f in z._free_list.values())
    return buddy + sum(cpu._pcp.count(page) for cpu in w.g.per_cpu)


def test_page_in_use_moves_and_is_never_used_again() -> None:
    async def body(w: KernelWorld) -> None:
        old = w.page("A:0")
        assert await soft_offline_page(w.g, old.pfn) == 0
        assert w.page("A:0") is not old
        assert w.page("A:0").nid == old.nid
        # Its last reference is the pagevec's.
        assert old.count.value == 1
        assert old.flags.has(PG_HWPOISON)
        await w.drain()
        assert old.count.value == 0
        assert free_lists(w, old) == 0
        assert not w.page("A:0").flags.has(PG_HWPOISON)
        taken = [await alloc_page(w.g, AT) for _ in range(3)]
        assert None in taken
        assert old not in taken
        for page in taken:
            if page is not None:
                await put_page(w.g, page, AT)

    assert run(body, SMALL, process("A", 5, 6)).contents("A") == [5, 6]


def test_full_node_is_topped_up_from_elsewhere() -> None:
    async def body(w: KernelWorld) -> None:
        assert await soft_offline_page(w.g, w.page("A:0").pfn) == 0
        assert w.page("A:0").nid == 1

    run(body, machine(pages_per_block=2), process("A", 1, 2))


def test_free_page_is_marked_where_it_is_and_dropped_by_the_allocator() -> None:
    async def body(w: KernelWorld) -> None:
        page = next(page for page in w.g.pages.values() if page.flags.has(PG_BUDDY))
        assert await soft_offline_page(w.g, page.pfn) == 0
        assert page.flags.has(PG_HWPOISON)
        assert free_lists(w, page) == 1
        assert w.g.section_of(page.pfn).pageblock_of(page.pfn).value == MIGRATE_MOVABLE
        assert await soft_offline_page(w.g, page.pfn) == 0
        taken = []
        while (got := await alloc_page(w.g, AT)) is not None:
            taken.append(got)
        assert page not in taken
        assert len(taken) == 2
        assert (page.count.value, free_lists(w, page)) == (0, 0)
        assert await soft_offline_page(w.g, page.pfn) == -EIO
        for got in taken:
            await put_page(w.g, got, AT)

    run(body, SMALL, process("A", 5))


def test_page_on_a_per_cpu_list_is_found_free() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await w.munmap("A:0", 1) == 0
        assert page in w.g.per_cpu[0]._pcp
        assert await soft_offline_page(w.g, page.pfn) == 0
        assert page.flags.has(PG_HWPOISON)
        assert page.flags.has(PG_BUDDY)

    run(body, process("A", 5))


def test_page_in_a_pagevec_is_shaken_out_first() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.store("A:0", 7) == 0
        old = w.page("A:0")
        assert not old.flags.has(PG_LRU)
        assert await soft_offline_page(w.g, old.pfn) == 0
        assert w.page("A:0") is not old

    assert run(body, process("A", "-")).contents("A") == [7]


def test_page_that_only_a_pagevec_holds_turns_free_by_shaking() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.store("A:0", 7) == 0
        page = w.page("A:0")
        # Away with the mapping, without the drain that munmap begins with.
        assert await w.move("A:0", node=1) == [1]
        assert page.count.value == 1
        assert await soft_offline_page(w.g, page.pfn) == 0
        assert page.flags.has(PG_HWPOISON)
        assert (page.count.value, free_lists(w, page)) == (0, 1)

    run(body, process("A", "-"))


def test_page_that_is_in_use_off_the_lru_keeps_a_reference_for_good() -> None:
    """A defect of this kernel: the error path forgets the reference of its second look."""

    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT)
        assert page is not None
        assert await soft_offline_page(w.g, page.pfn) == -EIO
        assert page.count.value == 2
        await put_page(w.g, page, AT)

    w = KernelWorld(process("A", 5)).go(body)
    assert w.found == ["page_state:refcount-leak"]


def test_ksm_page_is_refused_by_the_look_under_the_page_lock() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await soft_offline_page(w.g, page.pfn) == -EIO
        assert w.page("A:0") is page
        assert not page.flags.has(PG_HWPOISON)
        await w.drain()
        assert w.counters() == (1, 1, 0, 0)

    log = Log()
    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    run(body, *parts, recorder=log)
    assert "unmap_and_move.6" in {at for at, _, _ in log.operations}


def test_ksm_page_moves_in_a_kernel_without_that_look() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await soft_offline_page(w.g, page.pfn) == 0
        assert w.page("A:0") is not page

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    run(body, *parts, without=["recheck_ksm_under_page_lock"])


def test_page_with_an_extra_reference_is_not_moved() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await get_page(page, AT)
        assert await soft_offline_page(w.g, page.pfn) == -EIO
        assert not page.flags.has(PG_HWPOISON)
        await put_page(w.g, page, AT)

    run(body, process("A", 5))


def test_lack_of_memory_leaves_the_page_as_it_is() -> None:
    async def body(w: KernelWorld) -> None:
        assert await soft_offline_page(w.g, w.page("A:0").pfn) == -ENOMEM
        assert not w.page("A:0").flags.has(PG_HWPOISON)

    run(body, process("A", 5), faults=["enomem"], choices=Choices(faults=[1]))


def test_page_that_is_marked_and_in_use_is_busy() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        page.flags.value |= PG_HWPOISON
        assert await soft_offline_page(w.g, page.pfn) == -EBUSY
        assert page.count.value == 1
        page.flags.value &= ~PG_HWPOISON

    run(body, process("A", 5))


def test_frame_of_an_offline_block_is_an_error() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        assert await soft_offline_page(w.g, w.g.sections[1].start_pfn) == -EIO

    run(body, process("A", 5))


def test_block_that_holds_such_a_page_goes_offline_no_more() -> None:
    """check_pages_isolated takes it for a page in use (later kernels know better)."""

    async def body(w: KernelWorld) -> None:
        assert await soft_offline_page(w.g, w.page("A:0").pfn) == 0
        await w.drain()
        assert await w.offline(1) == -EBUSY

    run(body, process("A", 5, node=1))


def test_block_with_a_marked_page_still_on_a_free_list_does_and_comes_back_without_it() -> None:
    async def body(w: KernelWorld) -> None:
        section = w.g.sections[1]
        page = w.g.pages[section.start_pfn]
        assert await soft_offline_page(w.g, page.pfn) == 0
        assert await w.offline(1) == 0
        assert await w.online(1) == 0
        assert page.flags.has(PG_HWPOISON)
        assert (page.count.value, free_lists(w, page)) == (0, 0)

    run(body, process("A", 5))


def test_without_hibernation_it_undoes_the_isolation_of_an_offline_in_progress() -> None:
    """lock_system_sleep is what holds hot-remove off, and it does nothing then."""

    async def hotplug(w: KernelWorld) -> None:
        w.log.append(await w.offline(1))

    async def admin(w: KernelWorld) -> None:
        w.log.append(await soft_offline_page(w.g, w.g.sections[1].start_pfn))
        block = w.g.sections[1].migratetypes[0].value
        w.log.append(block == MIGRATE_ISOLATE)

    def world(*, hibernation: bool) -> KernelWorld:
        schedule = turns("hotplug@scan_lru_pages.1", "admin", "hotplug", "admin")
        parts = (machine(hibernation=hibernation), process("A", 5))
        w = KernelWorld(*parts, actors=("hotplug", "admin"), strategy=schedule)
        return w.go(hotplug, admin)

    assert world(hibernation=True).log == [0, -EIO, False]
    w = world(hibernation=False)
    assert w.found == []
    assert w.log == [0, False, -EBUSY]


def test_isolation_for_a_moment_is_not_taken_for_what_a_failed_offline_left_behind() -> None:
    async def hotplug(w: KernelWorld) -> None:
        w.log.append(await w.offline(1))

    async def admin(w: KernelWorld) -> None:
        w.log.append(await soft_offline_page(w.g, w.g.sections[1].start_pfn))

    schedule = turns(
        "hotplug@memory_block_change_state.3#2",  # vetoed, undone, pm_mutex released
        "admin@unset_migratetype_isolate.1",
        "hotplug",
        "admin",
    )
    parts = (machine(hibernation=True), notifier("driver", veto=True), process("A", 5))
    w = KernelWorld(*parts, actors=("hotplug", "admin"), strategy=schedule)
    assert w.go(hotplug, admin).found == []
    assert w.log[0] < 0
    assert w.log[1] == 0


def test_page_in_the_swap_cache_moves_with_its_slot() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        assert (await w.load("A:0"))[1] == 5
        old = w.page("A:0")
        assert await soft_offline_page(w.g, old.pfn) == 0
        assert old.flags.has(PG_HWPOISON)
        assert (await w.load("A:0"))[1] == 5
        assert w.page("A:0") is not old

    with_device(body, process("A", 5, 6))


def test_page_is_awaited_while_it_is_written() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        for _ in range(ROUNDS_MAX):
            if page.flags.has(PG_WRITEBACK):
                break
            await balance_pgdat(w.g, 0)
        await lru_add_drain(w.g, AT)
        assert page.flags.has(PG_WRITEBACK)
        assert await soft_offline_page(w.g, page.pfn) == 0

    log = Log()
    w = with_device(body, process("A", 5, 6), recorder=log)
    steps = [at for at, _, _ in log.operations]
    looked = steps.index("soft_offline_page.5/wait_on_page_writeback")
    went_on = steps.index("soft_offline_page.6")
    ended = [event for _, event, _ in log.operations[looked:went_on] if "PG_writeback" in event]
    assert ended[-1] == "test_and_clear_bit PG_writeback"
    assert w.contents("A")[1] in {6, None}


@pytest.mark.parametrize("address", [1 << 60, (1 << 64) - PAGE_SIZE])
def test_address_without_a_frame_is_no_device(address: int) -> None:
    async def body(w: KernelWorld) -> None:
        assert await store_soft_offline_page(w.g, str(address)) == -ENXIO

    run(body, process("A", 5))


def test_address_anywhere_in_the_frame_will_do() -> None:
    async def body(w: KernelWorld) -> None:
        old = w.page("A:0")
        assert await store_soft_offline_page(w.g, f"{(old.pfn << PAGE_SHIFT) + 17:#x}") > 0
        assert w.page("A:0") is not old

    run(body, process("A", 5))


def test_frame_of_a_removed_section_is_no_device() -> None:
    async def body(w: KernelWorld) -> None:
        section = w.g.sections[1]
        section.valid.value = False
        assert await store_soft_offline_page(w.g, f"{section.start_pfn << PAGE_SHIFT}") == -ENXIO
        section.valid.value = True

    run(body, process("A", 5))


def test_frame_that_is_freed_and_taken_again_in_the_gap_is_marked_in_use() -> None:
    """Nobody holds the page between its migration and the mark (step 10)."""

    async def admin(w: KernelWorld) -> None:
        w.log.append(w.page("A:0"))
        w.log.append(await soft_offline_page(w.g, w.page("A:0").pfn))

    async def task(w: KernelWorld) -> None:
        await w.drain()
        assert await w.store("B:0", 9) == 0

    schedule = turns("admin@soft_offline_page.10", "task", "admin")
    parts = (SMALL, process("A", 5), process("B", "-"))
    w = KernelWorld(*parts, actors=("admin", "task"), strategy=schedule)
    w.go(admin, task)
    page, ret = w.log
    assert ret == 0
    shot = w.shot("B")
    assert isinstance(shot, Shot)
    assert w.page("B:0") is page
    assert page.flags.has(PG_HWPOISON)
    assert w.contents("B") == [9]
    assert w.found == []
