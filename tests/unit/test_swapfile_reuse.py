# SPDX-License-Identifier: GPL-2.0-or-later
"""Giving slots back: by a writer who is alone, by whoever unmaps last."""

from __future__ import annotations

from ksmtrio.mm.page_flags import PG_SWAPCACHE
from ksmtrio.mm.swapfile_reuse import reuse_swap_page, try_to_free_swap
from tests.kernel_world import AT, KernelWorld, ksm, process
from tests.swap_world import swap_out, swap_to_cache, with_device


def test_a_write_to_a_page_in_the_swap_cache_takes_it_out() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        assert await w.store("A:0", 8) == 0
        assert w.pte("A:0").write
        assert not w.page("A:0").flags.has(PG_SWAPCACHE)
        assert w.g.swap._swap_map[1] == 0

    with_device(body, process("A", 7))


def test_a_read_leaves_it_there_and_a_later_write_is_served_in_place() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0")
        assert await w.load("A:0") == (0, 7)
        page = w.page("A:0")
        assert not w.pte("A:0").write
        await w.store("A:0", 8)
        assert w.page("A:0") is page

    with_device(body, process("A", 7))


def test_a_ksm_page_is_never_reused_but_its_slot_can_be_freed() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        await w.load("A:0")
        page = w.page("A:0")
        await page.page_lock.lock(AT)
        assert not await reuse_swap_page(w.g, page)
        assert await try_to_free_swap(w.g, page)
        assert not await try_to_free_swap(w.g, page)
        await page.page_lock.unlock(AT)
        assert page.mapping.value is not None
        assert page.mapping.value.ksm

    with_device(body, ksm(["A:0"]), process("A", 7, mergeable=True))


def test_unmapping_the_last_entry_frees_slot_and_cached_page() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        await w.munmap("A:0", 1)
        assert w.g.swap._swap_map[1] == 0
        assert w.g.swapper_space.slot(1).value is None

    with_device(body, process("A", 7))


def test_unmapping_an_entry_on_disk_frees_its_slot() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0")
        await w.munmap("A:0", 1)
        assert w.g.swap._swap_map[1] == 0

    with_device(body, process("A", 7))
