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
from ksmtrio.mm.mlock_page import mlock_vma_page
from ksmtrio.mm.mm_types import (
    PTE_NONE,
    VM_LOCKED,
    AnonVma,
    MmStruct,
    Page,
    Pte,
    Vma,
    page_anon,
    page_anon_vma,
    page_ksm,
    page_mapcount,
    page_mapped,
)
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON
from ksmtrio.mm.page_flags import PG_DIRTY, PG_LOCKED, PG_MLOCKED, PG_SWAPBACKED, PG_SWAPCACHE
from ksmtrio.mm.swap import add_page_to_unevictable_list, lru_cache_add_lru, put_page
from ksmtrio.mm.swapfile import mmlist_add, swap_duplicate
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

SWAP_SUCCESS: Final = 0
SWAP_AGAIN: Final = 1
SWAP_FAIL: Final = 2
SWAP_MLOCK: Final = 3

TTU_UNMAP: Final = 0
TTU_MIGRATION: Final = 1
TTU_MUNLOCK: Final = 2
TTU_ACTION_MASK: Final = 0xFF
TTU_IGNORE_MLOCK: Final = 1 << 8
TTU_IGNORE_ACCESS: Final = 1 << 9

TA = Points(__name__, "try_to_unmap_anon", "TA", "1 1#2 1#3 2 3")
T1 = Points(
    __name__,
    "try_to_unmap_one",
    "T1",
    "1 1#2 1#3 2 2/mlock_vma_page 2#2 3 4a 4b 4c 4c#2 4c/swap_duplicate 4c/mmlist 4c/mmlist#2 4d "
    "4d#2 4e 4f",
)
PR1 = Points(__name__, "page_referenced_one", "", "1 1#2 1#3 3")
PRA = Points(__name__, "page_referenced_anon", "", "1 1#2 1#3 2 3")
WA = Points(__name__, "rmap_walk_anon", "WA", "1 2 2#2")

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


async def anon_vma_link(vma: Vma, at: str) -> None:
    """anon_vma_link(): put a copied vma at the tail of the list of the anon_vma that it names."""
    anon_vma = vma.anon_vma.read_in_step(at)
    if anon_vma is not None:
        await anon_vma.lock.lock(at)
        anon_vma.head.append(vma)
        anon_vma.lock.unlock(at)


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

    Points: the caller's (mapcount), ``#2`` (mapping), ``#3`` (mapping and index := this vma's).
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
        await page.mapping.write(f"{at}#3", anon_vma.word)
        page.index.write_in_step(at, index)
    elif page.mapping.read_in_step(at) is not anon_vma.word or page.index.read_in_step(at) != index:
        raise VmBug(at, f"BUG_ON(mapping or index) in __page_check_anon_rmap, pfn {page.pfn}")


async def page_add_new_anon_rmap(g: Globals, page: Page, vma: Vma, address: Vaddr, at: str) -> None:
    """page_add_new_anon_rmap(): first mapping of a fresh page, which nobody else can see yet.

    Points: the caller's (mapcount and mapping), ``/lru_cache_add`` (pagevec reference), or in a
    VM_LOCKED vma ``/unevictable`` and ``#2`` (that list, without a pagevec).
    """
    anon_vma = vma.anon_vma.read_in_step(at)
    if anon_vma is None:
        raise KernelBug(at, "BUG_ON(!anon_vma) in page_add_new_anon_rmap")
    page.flags.change_in_step(at, set_=PG_SWAPBACKED)
    await page.mapcount.write(at, 0)
    page.mapping.write_in_step(at, anon_vma.word)
    page.index.write_in_step(at, vma.linear_page_index(address))
    if vma.vm_flags & VM_LOCKED:
        page.flags.change_in_step(at, set_=PG_MLOCKED)
        await add_page_to_unevictable_list(g, page, f"{at}/unevictable")
    else:
        await lru_cache_add_lru(g, page, LRU_ACTIVE_ANON, at)


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


async def page_address_in_vma(page: Page, vma: Vma, at: str) -> Vaddr | None:
    """page_address_in_vma(): where a vma would map an anonymous page; None stands for -EFAULT.

    Kernel: mm/rmap.c, v2.6.33. Context: mmap_sem held. A KSM page has no anon_vma, and so seems to
    belong into any vma that has none either, at its outdated index.

    Points: the caller's (PageAnon), ``#2`` and ``#3`` (the two anon_vmas), ``#4`` (index).
    """
    if not await page_anon(page, at):
        return None
    anon_vma = await vma.anon_vma.read(f"{at}#2")
    if anon_vma is not await page_anon_vma(page, f"{at}#3"):
        return None
    return vma.address_of_index(await page.index.read(f"{at}#4"))


async def try_to_unmap_anon(g: Globals, page: Page, flags: int) -> int:
    """TA: replace the ptes of an ordinary anonymous page by swap or migration entries.

    Kernel: mm/rmap.c, try_to_unmap_anon(), v2.6.33. Context: page locked; takes anon_vma->lock and
    pte locks. `flags` are TTU_*.

    Steps of TA:
        1. Enter RCU; read the mapping word, then the mapcount; not anon, or not mapped: leave RCU,
           return. LOCK anon_vma->lock.
        2. For each vma on the list: the page's index is in its range? Then T1.
        3. Its result is not SWAP_AGAIN, or the page is not mapped any more: stop. UNLOCK; leave
           RCU.

    Returns:
        SWAP_AGAIN, SWAP_FAIL or SWAP_MLOCK.
    """
    ret = SWAP_AGAIN
    anon_vma = await page_lock_anon_vma(g, page, TA["1"])
    if anon_vma is None:
        return ret
    for vma in list(anon_vma.head):
        address = vma.address_of_index(await page.index.read(TA["2"]))
        if address is None:
            continue
        ret = await try_to_unmap_one(g, page, vma, address, flags)
        if ret != SWAP_AGAIN or not await page_mapped(page, TA["3"]):
            break
    page_unlock_anon_vma(g, anon_vma, TA["1"])
    return ret


async def try_to_unmap_one(g: Globals, page: Page, vma: Vma, address: Vaddr, flags: int) -> int:
    """T1: replace one pte by a swap entry (page in the swap cache) or a migration entry.

    Kernel: mm/rmap.c, try_to_unmap_one(), v2.6.33; specification T1.1-5. Context: page locked,
    anon_vma->lock held.

    Args:
        flags: TTU_*; with the action TTU_MUNLOCK nothing is replaced.

    Returns:
        SWAP_AGAIN to go on, SWAP_FAIL (referenced, or no hold on the slot), SWAP_MLOCK.
    """
    found = await page_check_address(page, vma.vm_mm, address, T1["1"])
    if found is None:
        return SWAP_AGAIN
    cell, ptl = found
    if not flags & TTU_IGNORE_MLOCK:
        if vma.vm_flags & VM_LOCKED:
            ptl.unlock(T1["2"])
            return await _mlock_what_is_locked(g, page, vma)
        if flags & TTU_ACTION_MASK == TTU_MUNLOCK:
            ptl.unlock(T1["2"])
            return SWAP_AGAIN
    if not flags & TTU_IGNORE_ACCESS and await clear_young(cell, T1["3"]):
        ptl.unlock(T1["3"])
        return SWAP_FAIL
    ret = await _replace_pte(g, page, vma.vm_mm, cell, flags)
    ptl.unlock(T1["4f"])
    return ret


async def clear_young(cell: Cell[Pte], at: str) -> bool:
    """ptep_clear_flush_young(): clear the accessed bit; return whether it was set."""
    pte = await cell.read(at)
    if pte.young:
        cell.write_in_step(at, pte._replace(young=False))
    return pte.young


async def _mlock_what_is_locked(g: Globals, page: Page, vma: Vma) -> int:
    """T1.2: the vma is VM_LOCKED; believe it only under its mmap_sem, which may not be waited for.

    An anon_vma lock is held, so this is a trylock; when it fails the page stays where it is.
    """
    sem = vma.vm_mm.mmap_sem
    if not await sem.down_read_trylock(T1["2"]):
        return SWAP_AGAIN
    ret = SWAP_AGAIN
    if vma.vm_flags & VM_LOCKED:
        await mlock_vma_page(g, page, T1["2"])
        ret = SWAP_MLOCK
    await sem.up_read(T1["2#2"])
    return ret


async def _replace_pte(g: Globals, page: Page, mm: MmStruct, cell: Cell[Pte], flags: int) -> int:
    """T1.4: the pte lock is held; lockless observers can see the moments in between."""
    old = await cell.read(T1["4a"])
    cell.write_in_step(T1["4a"], PTE_NONE)
    if old.dirty:
        await page.flags.set(T1["4b"], PG_DIRTY)
    if await page.flags.test(T1["4c"], PG_SWAPCACHE):
        entry = await page.private.read(T1["4c#2"])
        if await swap_duplicate(g, entry, T1["4c"]):
            await cell.write(T1["4d#2"], old)
            return SWAP_FAIL
        await mmlist_add(g, mm, T1["4c"])
        new = Pte("swap", entry)
    else:
        if flags & TTU_ACTION_MASK != TTU_MIGRATION:
            raise KernelBug(T1["4c"], f"BUG_ON(TTU_ACTION) in try_to_unmap_one, pfn {page.pfn}")
        new = Pte("migration", page.pfn, write=old.write)
    await cell.write(T1["4d"], new)
    await page_remove_rmap(page, T1["4e"])
    await put_page(g, page, T1["4f"])
    return SWAP_AGAIN


class Referenced:
    """What page_referenced() gathers over the ptes of a page.

    Attributes:
        count: ptes that were young.
        mapcount: ptes still to be expected; 0 ends the search.
        vm_flags: of the vmas through which the page was referenced; VM_LOCKED whenever met.
    """

    __slots__ = ("count", "mapcount", "vm_flags")

    def __init__(self, mapcount: int) -> None:
        self.count = 0
        self.mapcount = mapcount
        self.vm_flags = 0


async def page_referenced_one(page: Page, vma: Vma, address: Vaddr, found: Referenced) -> None:
    """page_referenced_one(): test and clear the accessed bit of one pte.

    Kernel: mm/rmap.c, v2.6.33; part of PR. Context: anon_vma->lock held. A VM_LOCKED vma ends the
    search, so that the page goes on to try_to_unmap and from there to the unevictable list.
    Differs: there is no swap token.
    """
    pair = await page_check_address(page, vma.vm_mm, address, PR1["1"])
    if pair is None:
        return
    cell, ptl = pair
    if vma.vm_flags & VM_LOCKED:
        found.mapcount = 1
        found.vm_flags |= VM_LOCKED
    elif await clear_young(cell, PR1["3"]):
        found.count += 1
        found.vm_flags |= vma.vm_flags
    found.mapcount -= 1
    ptl.unlock(PR1["3"])


async def page_referenced_anon(g: Globals, page: Page) -> Referenced:
    """page_referenced_anon(): the ptes of an ordinary anonymous page.

    Kernel: mm/rmap.c, v2.6.33. Takes anon_vma->lock; the page need not be locked.
    """
    anon_vma = await page_lock_anon_vma(g, page, PRA["1"])
    if anon_vma is None:
        return Referenced(0)
    found = Referenced(await page_mapcount(page, PRA["2"]))
    for vma in list(anon_vma.head):
        address = vma.address_of_index(await page.index.read(PRA["3"]))
        if address is not None:
            await page_referenced_one(page, vma, address, found)
            if found.mapcount == 0:
                break
    page_unlock_anon_vma(g, anon_vma, PRA["2"])
    return found


async def rmap_walk_anon(page: Page, action: RmapAction) -> int:
    """WA: call `action` for every vma that may map the page.

    Kernel: mm/rmap.c, rmap_walk_anon(), v2.6.33. Does not use page_lock_anon_vma: the page is
    unmapped, RCU (entered by unmap_and_move) keeps the anon_vma an anon_vma.

    Steps of WA:
        1. Read the mapping word; no anon_vma in it: done.
        2. LOCK anon_vma->lock; for each vma on the list whose range has the page's index: action,
           until one does not answer SWAP_AGAIN. UNLOCK.
    """
    ret = SWAP_AGAIN
    anon_vma = await page_anon_vma(page, WA["1"])
    if anon_vma is None:
        return ret
    await anon_vma.lock.lock(WA["2"])
    for vma in list(anon_vma.head):
        address = vma.address_of_index(await page.index.read(WA["2#2"]))
        if address is not None:
            ret = await action(page, vma, address)
            if ret != SWAP_AGAIN:
                break
    anon_vma.lock.unlock(WA["2"])
    return ret
