# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap-in of KSM pages: shared while they survive in the cache, copied afterwards."""

from __future__ import annotations

from tests.kernel_world import KernelWorld, ksm, process
from tests.swap_world import swap_out, swap_to_cache, with_device

SHARED = (
    ksm(["A:0", "B:0"]),
    process("A", 7, mergeable=True),
    process("B", 7, mergeable=True),
)


def test_a_ksm_page_in_the_swap_cache_is_mapped_again_as_it_is() -> None:
    async def body(w: KernelWorld) -> None:
        kpage = w.page("A:0")
        await swap_to_cache(w, "A:0")
        for ref in ("A:0", "B:0"):
            assert await w.load(ref) == (0, 7)
            assert w.page(ref) is kpage
            assert not w.pte(ref).write

    with_device(body, *SHARED)


def test_after_reclaim_the_first_faulter_owns_the_page_and_the_second_gets_a_copy() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0", "B:0")
        assert await w.load("A:0") == (0, 7)
        assert w.page("A:0").mapping.value is w.vma("A:0").anon_vma.value.word  # type: ignore[union-attr]
        assert await w.load("B:0") == (0, 7)
        assert w.page("B:0") is not w.page("A:0")
        assert w.page("B:0").mapping.value is w.vma("B:0").anon_vma.value.word  # type: ignore[union-attr]

    with_device(body, *SHARED)


def test_ksmd_prunes_the_node_of_a_page_that_was_reclaimed() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0", "B:0")
        assert w.counters()[:2] == (1, 1)
        for ref in ("A:0", "B:0"):
            await w.load(ref)
        await w.scan(1)
        assert w.counters()[:2] == (0, 0)
        await w.scan(2)
        assert w.counters()[:2] == (1, 1)
        assert w.page("A:0") is w.page("B:0")

    with_device(body, *SHARED)


def test_a_page_in_the_swap_cache_can_be_merged() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_to_cache(w, "A:0")
        for ref in ("A:0", "B:0"):
            await w.load(ref)
        await w.scan(3)
        assert w.page("A:0") is w.page("B:0")
        assert w.counters()[:2] == (1, 1)

    with_device(body, process("A", 7, mergeable=True), process("B", 7, mergeable=True))
