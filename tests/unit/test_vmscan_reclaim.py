# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim: pages age, get swap entries, are written out and freed; what is in use stays."""

from __future__ import annotations

from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, LRU_INACTIVE_ANON, LRU_UNEVICTABLE
from ksmtrio.mm.page_flags import PG_MLOCKED, PG_SWAPCACHE
from ksmtrio.mm.swap import get_page, put_page
from ksmtrio.mm.vmscan_reclaim import balance_pgdat, try_to_free_pages
from tests.kernel_world import AT, KernelWorld, Log, ksm, machine, process, round_robin, run
from tests.swap_world import cached, reclaim, settle, swap_out, swap_to_cache, with_device


def on_list(w: KernelWorld, name: str) -> list[int]:
    return [page.pfn for page in w.g.zones[0]._lru_list[name]]


def test_without_swap_nothing_is_even_aged() -> None:
    async def body(w: KernelWorld) -> None:
        assert await balance_pgdat(w.g, 0) == 0
        assert on_list(w, LRU_ACTIVE_ANON) == [0]

    run(body, process("A", 7))


def test_an_idle_page_is_swapped_out_and_its_frame_freed() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0", "A:1")
        assert [w.g.pages[pfn].count.value for pfn in (0, 1)] == [0, 0]
        assert w.g.swap._swap_map[1:4] == [1, 1, 0]
        assert [half.value for half in w.g.swap.disk[w.pte("A:1").pfn]] == [8, 8]

    with_device(body, process("A", 7, 8))


def test_a_dirty_page_is_written_first_and_freed_in_a_later_round() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        assert cached(w, "A:0")
        assert await reclaim(w) == 1
        assert not cached(w, "A:0")

    with_device(body, process("A", 7))


def test_kept_pages_go_back_in_one_section_of_the_lock_and_are_put_after_it() -> None:
    async def body(w: KernelWorld) -> None:
        pages = [w.page("A:0"), w.page("A:1")]
        for page in pages:
            await get_page(page, AT)
        await reclaim(w, 2)
        assert on_list(w, LRU_INACTIVE_ANON) == [page.pfn for page in pages]
        for page in pages:
            await put_page(w.g, page, AT)

    recorder = Log()
    with_device(body, process("A", 7, 8), recorder=recorder)
    ends = [
        (at, event)
        for at, event, target in recorder.operations
        if at.startswith(("shrink_inactive_list.3", "shrink_inactive_list.4"))
        and target.endswith(("lru_lock", "_count"))
    ]
    assert ends[-4:] == [
        ("shrink_inactive_list.3", "spin_lock"),
        ("shrink_inactive_list.3", "spin_unlock"),
        ("shrink_inactive_list.4/put_page", "add"),
        ("shrink_inactive_list.4/put_page", "add"),
    ]


def test_a_page_that_somebody_else_holds_is_kept_in_the_swap_cache() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await get_page(page, AT)
        await reclaim(w, 3)
        assert w.pte("A:0").swap
        assert page.flags.has(PG_SWAPCACHE)
        assert page.count.value == 2
        await put_page(w.g, page, AT)

    with_device(body, process("A", 7))


def test_a_page_used_between_two_rounds_is_activated_again() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        page.flags.change_in_step(AT, set_=PG_MLOCKED)  # as if mlocked while isolated
        await balance_pgdat(w.g, 0)
        assert on_list(w, LRU_UNEVICTABLE) == [page.pfn]

    with_device(body, process("A", 7))


def test_all_sharers_of_a_ksm_page_get_swap_entries() -> None:
    async def body(w: KernelWorld) -> None:
        node = w.node("A:0")
        await swap_out(w, "A:0", "A:1", "B:0")
        assert len({w.pte(ref).pfn for ref in ("A:0", "A:1", "B:0")}) == 1
        assert w.g.swap._swap_map[w.pte("A:0").pfn] == 3
        assert len(node._hlist) == 3
        assert node in w.ksm._stable_root

    with_device(
        body,
        ksm(["A:0", "A:1", "B:0"]),
        process("A", 7, 7, mergeable=True),
        process("B", 7, mergeable=True),
    )


def test_mapped_pages_are_found_by_address_space_after_they_came_back() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0")
        assert await w.load("A:0") == (0, 7)
        assert on_list(w, LRU_INACTIVE_ANON) == [w.page("A:0").pfn]
        await swap_out(w, "A:0")

    with_device(body, process("A", 7))


def test_direct_reclaim_makes_room_for_an_allocation() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.store("A:2", 9) == 0
        assert sum(w.pte(ref).swap for ref in ("A:0", "A:1")) >= 1
        assert [(await w.load(ref))[1] for ref in ("A:0", "A:1", "A:2")] == [7, 8, 9]
        await settle(w)

    tight = machine(nodes=1, pages_per_block=2, swap_slots=8, pagevecs=False)
    world = KernelWorld(tight, process("A", 7, 8, "-"), strategy=round_robin()).go(body)
    assert world.found == []


def test_direct_reclaim_without_anything_to_free_says_so() -> None:
    async def body(w: KernelWorld) -> None:
        assert await try_to_free_pages(w.g, list(w.g.zones.values())) == 0

    run(body, process("A"))
