# SPDX-License-Identifier: GPL-2.0-or-later
"""Reverse maps: from a page to the ptes that map it.

Kernel: mm/rmap.c, v2.6.33; specification TA, T1, WA.

Tests: `tests/unit/test_rmap.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from errno import ENOMEM
from typing import Final

from ksmtrio.errors import KernelBug, VmBug
from ksmtrio.locking.rcu import rcu_read_lock, rcu_read_unlock
from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import (
    PTE_NONE,
    AnonVma,
    MmStruct,
    Page,
    Pte,
    Vma,
    page_anon_vma,
    page_ksm,
    page_mapped,
)
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON
from ksmtrio.mm.page_flags import PG_DIRTY, PG_LOCKED, PG_SWAPBACKED
from ksmtrio.mm.swap import lru_cache_add_lru, put_page
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

SWAP_SUCCESS: Final = 0
SWAP_AGAIN: Final = 1
SWAP_FAIL: Final = 2

TA = Points(__name__, "try_to_unmap_anon", "TA", "1 1#2 1#3 2 3")
T1 = Points(__name__, "try_to_unmap_one", "T1", "1 1#2 1#3 4a 4b 4d 4e 4f")
WA = Points(__name__, "rmap_walk_anon", "WA", "1 2")

RmapAction = Callable[[Page, Vma, Vaddr], Awaitable[int]]
"""(page, vma, address) -> SWAP_*; what an rmap walk does at each place."""


async def anon_vma_prepare(g: Globals, vma: Vma, at: str) -> int:
    """anon_vma_prepare(): give the vma an anon_vma unless it has one. mmap_sem held; sleeps.

    Differs: never reuses a neighbour's anon_vma. Returns 0 or -ENOMEM.
    """
    g.rt.might_sleep(at)
    if await vma.anon_vma.read(at) is not None:
        return 0
    if g.rt.fault("enomem", at):
        return -ENOMEM
    fresh = AnonVma(g.rt, g.watchers)
    g.anon_vmas.append(fresh)
    await fresh.lock.lock(f"{at}#2")
    mm: MmStruct = vma.vm_mm
    await mm.page_table_lock.lock(f"{at}#3")
    if vma.anon_vma.read_in_step(at) is None:
        vma.anon_vma.write_in_step(at, fresh)
        fresh.head.append(vma)
    mm.page_table_lock.unlock(at)
    unused = not fresh.head
    fresh.lock.unlock(at)
    if unused:
        fresh.die("freed", at)
    return 0


async def anon_vma_unlink(vma: Vma, at: str) -> None:
    """anon_vma_unlink(): take the vma off its anon_vma; free that when nobody else needs it."""
    anon_vma = await vma.anon_vma.read(at)
    if anon_vma is None:
        return
    await anon_vma.lock.lock(f"{at}#2")
    anon_vma.head.remove(vma)
    empty = not anon_vma.head and await anon_vma.ksm_refcount.read(f"{at}#3") == 0
    anon_vma.lock.unlock(at)
    if empty:
        anon_vma.die("freed", at)


async def page_check_address(
    page: Page, mm: MmStruct, address: Vaddr, at: str
) -> tuple[Cell[Pte], SpinLock] | None:
    """page_check_address(sync=0): the pte that maps the page at this address, its lock held.

    Points: the caller's (lockless look), ``#2`` (lock), ``#3`` (look again).
    """
    cell = mm.pte(address)
    if not (await cell.read(at)).present:
        return None
    ptl = mm.ptl(address)
    await ptl.lock(f"{at}#2")
    pte = await cell.read(f"{at}#3")
    if pte.present and pte.pfn == page.pfn:
        return cell, ptl
    ptl.unlock(at)
    return None


async def page_add_anon_rmap(page: Page, vma: Vma, address: Vaddr, at: str) -> None:
    """page_add_anon_rmap(): one more pte maps the page; pte lock held, page locked unless KSM.

    Points: the caller's (mapcount), ``#2`` (mapping).
    """
    first = await page.mapcount.inc(at) == 0
    if await page_ksm(page, f"{at}#2"):
        return
    if not page.flags.read_in_step(at) & PG_LOCKED:
        raise VmBug(at, f"VM_BUG_ON(!PageLocked) in page_add_anon_rmap, pfn {page.pfn}")
    anon_vma = vma.anon_vma.read_in_step(at)
    index = vma.linear_page_index(address)
    if anon_vma is None:
        raise KernelBug(at, "BUG_ON(!anon_vma) in page_add_anon_rmap")
    if first:
        page.mapping.write_in_step(at, anon_vma.word)
        page.index.write_in_step(at, index)
    elif page.mapping.read_in_step(at) is not anon_vma.word or page.index.read_in_step(at) != index:
        raise VmBug(at, f"BUG_ON(mapping or index) in __page_check_anon_rmap, pfn {page.pfn}")


async def page_add_new_anon_rmap(g: Globals, page: Page, vma: Vma, address: Vaddr, at: str) -> None:
    """page_add_new_anon_rmap(): first mapping of a fresh page, which nobody else can see yet.

    Points: the caller's (mapcount and mapping), ``/lru`` (pagevec reference).
    """
    anon_vma = vma.anon_vma.read_in_step(at)
    if anon_vma is None:
        raise KernelBug(at, "BUG_ON(!anon_vma) in page_add_new_anon_rmap")
    page.flags.change_in_step(at, set_=PG_SWAPBACKED)
    await page.mapcount.write(at, 0)
    page.mapping.write_in_step(at, anon_vma.word)
    page.index.write_in_step(at, vma.linear_page_index(address))
    await lru_cache_add_lru(g, page, LRU_ACTIVE_ANON, f"{at}/lru")


async def page_remove_rmap(page: Page, at: str) -> None:
    """page_remove_rmap(): one pte less; `mapping` stays as it is."""
    await page.mapcount.dec(at)


async def page_lock_anon_vma(g: Globals, page: Page, at: str) -> AnonVma | None:
    """page_lock_anon_vma(): the locked anon_vma of a mapped anonymous page, inside RCU; or None."""
    rcu_read_lock(g.rt)
    anon_vma = await page_anon_vma(page, at)
    if anon_vma is not None and await page_mapped(page, f"{at}#2"):
        await anon_vma.lock.lock(f"{at}#3")
        return anon_vma
    rcu_read_unlock(g.rt)
    return None


def page_unlock_anon_vma(g: Globals, anon_vma: AnonVma, at: str) -> None:
    """page_unlock_anon_vma()."""
    anon_vma.lock.unlock(at)
    rcu_read_unlock(g.rt)


async def try_to_unmap_anon(g: Globals, page: Page) -> int:
    """TA: replace the ptes of an ordinary anonymous page by migration entries.

    Kernel: mm/rmap.c, try_to_unmap_anon(), v2.6.33, flags MIGRATION | IGNORE_MLOCK | IGNORE_ACCESS.
    Context: page locked; takes anon_vma->lock and pte locks.
    """
    ret = SWAP_AGAIN
    anon_vma = await page_lock_anon_vma(g, page, TA["1"])
    if anon_vma is None:
        return ret
    for vma in list(anon_vma.head):
        address = vma.address_of_index(page.index.read_in_step(TA["2"]))
        if address is None:
            continue
        ret = await try_to_unmap_one(g, page, vma, address)
        if ret != SWAP_AGAIN or not await page_mapped(page, TA["3"]):
            break
    page_unlock_anon_vma(g, anon_vma, TA["1"])
    return ret


async def try_to_unmap_one(g: Globals, page: Page, vma: Vma, address: Vaddr) -> int:
    """T1: replace one pte by a migration entry.

    Kernel: mm/rmap.c, try_to_unmap_one(), v2.6.33; specification T1.1, 4, 5 for the MIGRATION
    action (swap entries come with swap). Context: page locked, anon_vma->lock held.
    """
    found = await page_check_address(page, vma.vm_mm, address, T1["1"])
    if found is None:
        return SWAP_AGAIN
    cell, ptl = found
    old = await cell.read(T1["4a"])
    cell.write_in_step(T1["4a"], PTE_NONE)
    if old.dirty:
        await page.flags.set(T1["4b"], PG_DIRTY)
    await cell.write(T1["4d"], Pte("migration", page.pfn, write=old.write))
    await page_remove_rmap(page, T1["4e"])
    await put_page(g, page, T1["4f"])
    ptl.unlock(T1["4f"])
    return SWAP_AGAIN


async def rmap_walk_anon(page: Page, action: RmapAction) -> int:
    """WA: call `action` for every vma that may map the page.

    Kernel: mm/rmap.c, rmap_walk_anon(), v2.6.33. Does not use page_lock_anon_vma: the page is
    unmapped, RCU (entered by unmap_and_move) keeps the anon_vma an anon_vma.
    """
    ret = SWAP_AGAIN
    anon_vma = await page_anon_vma(page, WA["1"])
    if anon_vma is None:
        return ret
    await anon_vma.lock.lock(WA["2"])
    for vma in list(anon_vma.head):
        address = vma.address_of_index(page.index.read_in_step(WA["2"]))
        if address is not None:
            ret = await action(page, vma, address)
            if ret != SWAP_AGAIN:
                break
    anon_vma.lock.unlock(WA["2"])
    return ret
