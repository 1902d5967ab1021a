# SPDX-License-Identifier: GPL-2.0-or-later
"""The swap map: slots are handed out once, counted, and free when nothing holds them."""

from __future__ import annotations

from errno import EEXIST, ENOENT

from ksmtrio.mm.swap_types import SWAP_HAS_CACHE
from ksmtrio.mm.swapfile import (
    get_swap_page,
    page_swapcount,
    swap_duplicate,
    swap_free,
    swapcache_free,
    swapcache_prepare,
    vm_swap_full,
)
from tests.kernel_world import AT, KernelWorld, machine, run

SWAP = machine(swap_slots=2)


def test_each_slot_is_handed_out_once_and_then_the_area_is_full() -> None:
    async def body(world: KernelWorld) -> None:
        g = world.g
        assert [await get_swap_page(g, AT) for _ in range(3)] == [1, 2, 0]
        assert await vm_swap_full(g, AT)
        for entry in (1, 2):
            assert await swapcache_free(g, entry, AT) == 0
        assert not await vm_swap_full(g, AT)

    run(body, SWAP)


def test_a_slot_is_free_when_neither_a_pte_nor_the_cache_holds_it() -> None:
    async def body(world: KernelWorld) -> None:
        g = world.g
        entry = await get_swap_page(g, AT)
        assert await swap_duplicate(g, entry, AT) == 0
        assert await page_swapcount(g, entry, AT) == 1
        assert await swapcache_free(g, entry, AT) == 1
        assert await swapcache_prepare(g, entry, AT) == 0
        assert await swapcache_prepare(g, entry, AT) == -EEXIST
        assert await swap_free(g, entry, AT) == SWAP_HAS_CACHE
        assert await swapcache_free(g, entry, AT) == 0
        assert await swapcache_prepare(g, entry, AT) == -ENOENT
        assert await swap_duplicate(g, entry, AT) == -ENOENT

    run(body, SWAP)


def test_any_number_of_ptes_may_hold_a_slot() -> None:
    async def body(world: KernelWorld) -> None:
        g = world.g
        entry = await get_swap_page(g, AT)
        for _ in range(200):
            assert await swap_duplicate(g, entry, AT) == 0
        assert await page_swapcount(g, entry, AT) == 200
        assert await swapcache_free(g, entry, AT) == 200
        for left in range(199, -1, -1):
            assert await swap_free(g, entry, AT) == left

    run(body, SWAP)


def test_freeing_a_slot_that_nobody_holds_is_a_bug() -> None:
    async def body(world: KernelWorld) -> None:
        await swap_free(world.g, 1, AT)

    world = KernelWorld(SWAP).go(body)
    assert world.found == ["bugs:BUG_ON"]
