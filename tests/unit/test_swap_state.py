# SPDX-License-Identifier: GPL-2.0-or-later
"""The swap cache: found by slot, filled once, read in once by however many."""

from __future__ import annotations

from ksmtrio.mm.page_flags import PG_DIRTY, PG_SWAPCACHE, PG_UPTODATE
from ksmtrio.mm.swap import put_page
from ksmtrio.mm.swap_state import add_to_swap, delete_from_swap_cache, lookup_swap_cache
from ksmtrio.mm.swap_state_read import read_swap_cache_async
from ksmtrio.sched.choices import Choices
from tests.kernel_world import AT, KernelWorld, machine, process, run, turns
from tests.swap_world import SWAP, reclaim, settle, swap_out, with_device


def test_a_page_goes_into_the_cache_with_a_slot_and_a_reference() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await page.page_lock.lock(AT)
        assert await add_to_swap(w.g, page)
        assert page.flags.value & (PG_SWAPCACHE | PG_DIRTY) == PG_SWAPCACHE | PG_DIRTY
        assert (page.private.value, page.count.value) == (1, 2)
        assert await lookup_swap_cache(w.g, 1, AT) is page
        await put_page(w.g, page, AT)
        await delete_from_swap_cache(w.g, page)
        assert await lookup_swap_cache(w.g, 1, AT) is None
        assert (page.private.value, page.count.value) == (0, 1)
        assert w.g.swap._swap_map[1] == 0
        await page.page_lock.unlock(AT)

    run(body, SWAP, process("A", 7))


def test_when_swap_is_full_a_page_cannot_be_added() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await page.page_lock.lock(AT)
        assert not await add_to_swap(w.g, page)
        assert not page.flags.has(PG_SWAPCACHE)
        await page.page_lock.unlock(AT)

    run(body, machine(swap_slots=0), process("A", 7))


def test_a_failed_insertion_into_the_tree_is_undone() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await page.page_lock.lock(AT)
        assert not await add_to_swap(w.g, page)
        assert (page.private.value, page.count.value) == (0, 1)
        assert w.g.swap._swap_map[1] == 0
        await page.page_lock.unlock(AT)

    run(body, SWAP, process("A", 7), faults=["enomem"], choices=Choices([], [], [1]))


def test_two_readers_of_one_slot_share_the_page() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0")
        entry = w.pte("A:0").pfn
        first = await read_swap_cache_async(w.g, entry, None, 0)
        second = await read_swap_cache_async(w.g, entry, None, 0)
        assert first is not None
        assert first is second
        await first.page_lock.wait_unlocked(AT)
        assert first.flags.has(PG_UPTODATE)
        assert [half.value for half in first.content] == [7, 7]
        for _ in range(2):
            await put_page(w.g, first, AT)

    with_device(body, process("A", 7))


def test_a_slot_that_nobody_holds_any_more_is_not_read() -> None:
    async def body(w: KernelWorld) -> None:
        assert await read_swap_cache_async(w.g, 3, None, 0) is None

    with_device(body, process("A", 7))


def test_lookup_waits_while_reclaim_has_the_count_frozen() -> None:
    async def task(w: KernelWorld) -> None:
        await reclaim(w, 2)

    async def reader(w: KernelWorld) -> None:
        assert await w.load("A:0") == (0, 7)
        await settle(w)

    schedule = turns(
        "task@__remove_mapping.3",  # frozen
        "reader@do_swap_page.2/find_get_page#2",
        "reader",
        "task",
    )
    world = KernelWorld(SWAP, process("A", 7), actors=("task", "reader"), strategy=schedule)
    world.go(task, reader)
    assert world.found == []
