# SPDX-License-Identifier: GPL-2.0-or-later
"""Worlds with a swap area. Tests: by use."""

from __future__ import annotations

from typing import Any

from ksmtrio.mm.filemap import wait_on_page_writeback
from ksmtrio.mm.vmscan_reclaim import balance_pgdat
from tests.kernel_world import AT, Body, KernelWorld, machine

ROUNDS_MAX = 6
SWAP = machine(swap_slots=8, nodes=1, pages_per_block=16)


async def settle(w: KernelWorld) -> None:
    """Sleep until the device has nothing left to do."""
    for page in w.g.pages.values():
        await wait_on_page_writeback(page, AT)
        if w.g.swap.device in page.page_lock.holders():
            await page.page_lock.wait_unlocked(AT)


async def reclaim(w: KernelWorld, rounds: int = 1) -> int:
    """Let kswapd go over node 0, the device keeping up; return the pages freed."""
    freed = 0
    for _ in range(rounds):
        freed += await balance_pgdat(w.g, 0)
        await settle(w)
    return freed


async def swap_out(w: KernelWorld, *refs: str) -> None:
    """Reclaim until the pages are on disk only."""
    for _ in range(ROUNDS_MAX):
        if all(w.pte(ref).swap and not cached(w, ref) for ref in refs):
            return
        await reclaim(w)
    raise AssertionError(f"{[str(w.pte(ref)) for ref in refs]} after {ROUNDS_MAX} rounds")


async def swap_to_cache(w: KernelWorld, ref: str) -> None:
    """Reclaim until the page has a swap entry but is still in the swap cache."""
    for _ in range(ROUNDS_MAX):
        if w.pte(ref).swap:
            assert cached(w, ref)
            return
        await reclaim(w)
    raise AssertionError(f"{ref} is still {w.pte(ref)}")


def cached(w: KernelWorld, ref: str) -> bool:
    """Whether the page's slot is in the swap cache."""
    return w.g.swapper_space.slot(w.pte(ref).pfn).value is not None


def with_device(body: Body, *parts: str, **options: Any) -> KernelWorld:
    """Run a body in a world with swap, whose device runs beside it; nothing may be found."""
    world = KernelWorld(SWAP, *parts, **options).go(body)
    assert world.found == [], world.findings.all()
    return world
