# SPDX-License-Identifier: GPL-2.0-or-later
"""Page faults, follow_page, copy on write, unmapping. Kernel: mm/memory.c, v2.6.33.

Specification FP, HP, AF, CW, SW, ZP. Tests: `tests/unit/test_memory.py`.
"""

from __future__ import annotations

from errno import EFAULT, ENOMEM
from typing import Final

from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_swap import ksm_might_need_to_copy
from ksmtrio.mm.mempolicy_alloc import alloc_page_vma
from ksmtrio.mm.migration_entry import migration_entry_wait
from ksmtrio.mm.mlock_page import clear_page_mlock
from ksmtrio.mm.mm_types import (
    PTE_NONE,
    VM_LOCKED,
    VM_READ,
    VM_WRITE,
    MmStruct,
    Page,
    Pte,
    Vma,
)
from ksmtrio.mm.page_flags import PG_DIRTY, PG_MLOCKED, PG_SWAPCACHE, PG_UPTODATE
from ksmtrio.mm.rmap import (
    anon_vma_prepare,
    page_add_anon_rmap,
    page_add_new_anon_rmap,
    page_remove_rmap,
)
from ksmtrio.mm.signal import ERESTARTSYS, fatal_signal_pending
from ksmtrio.mm.swap import get_page, lru_add_drain, mark_page_accessed, put_page
from ksmtrio.mm.swap_state import lookup_swap_cache
from ksmtrio.mm.swap_state_read import swapin_readahead
from ksmtrio.mm.swap_types import SwapEntry
from ksmtrio.mm.swapfile import swap_free, vm_swap_full
from ksmtrio.mm.swapfile_reuse import (
    free_swap_and_cache,
    free_swap_cache,
    reuse_swap_page,
    try_to_free_swap,
)
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SHIFT, PAGES_PER_PTE_TABLE, Vaddr, Vpn

VM_FAULT_OOM: Final = 0x0001
VM_FAULT_SIGBUS: Final = 0x0002
VM_FAULT_MAJOR: Final = 0x0004
VM_FAULT_WRITE: Final = 0x0008
ZERO_PFN: Final = -2
"""The zero page's frame number; the zero page has no struct page in the model."""
ZERO_PTE: Final = Pte("present", ZERO_PFN, young=True, special=True)

FP = Points(
    __name__,
    "follow_page",
    "FP",
    "1 2 5 6 6#2 6/mark_page_accessed 6/mark_page_accessed#2 6/activate_page",
)
GUP = Points(__name__, "__get_user_pages", "", "1 1#2 2")
HP = Points(__name__, "handle_pte_fault", "HP", "1 4 5 8")
AF = Points(
    __name__,
    "do_anonymous_page",
    "AF",
    "1 1#2 1#3 2 2#2 2#3 3 4 5 5/put_page 6 "
    "6/lru_cache_add 6/pagevec_lru_add 6/pagevec_lru_add#2 6/release_pages 6/unevictable "
    "6/unevictable#2 7",
)
AF_ZERO = Points(__name__, "do_anonymous_page", "", "zero.1 zero.2 zero.3")
CW = Points(
    __name__,
    "do_wp_page",
    "CW",
    "1 1.1 1.1#2 1.1#3 1.1#4 1.1#5 1.1#6 1.2 1.3 3 4 4#2 4#3 5 5#2 5#3 6 6#2 7 8 "
    "8/clear_page_mlock 8/clear_page_mlock#2 8#2 9 10 10a 10b 10b/lru_cache_add "
    "10b/pagevec_lru_add 10b/pagevec_lru_add#2 10b/release_pages 10b/unevictable "
    "10b/unevictable#2 10c 10d 11/put_page 12/put_page",
)
SW = Points(
    __name__,
    "do_swap_page",
    "SW",
    "2 2/find_get_page 2/find_get_page#2 2/find_get_page#3 3 3#2 4 6 7 8 8#2 8#3 8/put_page 9c 9d "
    "9d#2 9d#3 10 10/swap_free 11/vm_swap_full 11/vm_swap_full#2 11#2 12",
)
SW_CHECK = Points(__name__, "do_swap_page", "", "cached entry unlock")
ZP = Points(
    __name__,
    "zap_pte_range",
    "ZP",
    "1 1#2 2 4 5 5/pagevec_lru_add 5/pagevec_lru_add#2 5/release_pages 6 6/free_swap_cache "
    "6/free_swap_cache#2 6/free_swap_cache#3 6/free_swap_cache#4 6/put_page",
)
ZAP = Points(
    __name__,
    "zap_page_range",
    "",
    "1 1/pagevec_lru_add 1/pagevec_lru_add#2 1/release_pages",
)
ZP_LOCK = Points(__name__, "zap_pte_range", "", "lock")


def vm_normal_page(g: Globals, pte: Pte) -> Page | None:
    """vm_normal_page(): the struct page behind a present pte; None for the zero page."""
    return None if pte.special else g.pfn_to_page(pte.pfn)


async def follow_page(
    g: Globals, vma: Vma, address: Vaddr, *, foll_migration: bool = False
) -> Page | None:
    """follow_page(FOLL_GET): the page mapped at an address, with a reference.

    Kernel: mm/memory.c, follow_page(), v2.6.33; specification FP. Context: mmap_sem held. Differs:
    the zero page gives None instead of a page that every caller then turns down as not anonymous
    or reserved.

    Args:
        foll_migration: FOLL_MIGRATION, of later kernels: sleep until a migration entry is gone.
    """
    _, page, ptl = await _follow(g, vma, address, foll_migration=foll_migration)
    ptl.unlock(FP["5"])
    return page


async def _follow(
    g: Globals, vma: Vma, address: Vaddr, *, write: bool = False, foll_migration: bool = False
) -> tuple[Pte | None, Page | None, SpinLock]:
    """FP.1-5. Returns the pte, if it will do, its page, if it has one, and the lock, still held."""
    mm = vma.vm_mm
    ptl = mm.ptl(address)
    await ptl.lock(FP["1"])
    pte = await mm.pte(address).read(FP["2"])
    while foll_migration and pte.migration:
        ptl.unlock(FP["2"])
        await migration_entry_wait(g, mm, address)
        await ptl.lock(FP["1"])
        pte = await mm.pte(address).read(FP["2"])
    if not pte.present or (write and not pte.write):
        return None, None, ptl
    page = vm_normal_page(g, pte)
    if page is not None:
        await get_page(page, FP["5"])
    return pte, page, ptl


async def get_user_page(
    g: Globals, vma: Vma, address: Vaddr, *, write: bool
) -> tuple[int, Page | None]:
    """get_user_pages() of one page with FOLL_TOUCH, and FOLL_WRITE if it is to be written.

    Kernel: mm/memory.c, __get_user_pages(), v2.6.33; specification FP.3, FP.6. Context: mmap_sem
    held; sleeps. Faults the page in; a write fault breaks the sharing of a KSM page.

    Returns:
        (0, the page with a reference, None for the zero page), or (-EFAULT, -ENOMEM or
        -ERESTARTSYS, None).
    """
    if not vma.vm_flags & (VM_WRITE if write else VM_READ):
        return -EFAULT, None
    if await fatal_signal_pending(g, GUP["1"]):
        return -ERESTARTSYS, None
    while True:
        await g.rt.cond_resched(GUP["2"])
        pte, page, ptl = await _follow(g, vma, address, write=write)
        if pte is not None and page is not None:
            if write and not pte.dirty and not await page.flags.test(FP["6"], PG_DIRTY):
                await page.flags.set(FP["6#2"], PG_DIRTY)
            await mark_page_accessed(g, page, FP["6"])
        ptl.unlock(FP["6"])
        if pte is not None:
            return 0, page
        fault = await handle_mm_fault(g, vma, address, write=write)
        if fault & VM_FAULT_OOM:
            return -ENOMEM, None
        if fault & VM_FAULT_SIGBUS:
            return -EFAULT, None


async def handle_mm_fault(g: Globals, vma: Vma, address: Vaddr, *, write: bool) -> int:
    """handle_mm_fault() and handle_pte_fault(): make the pte serve an access.

    Kernel: mm/memory.c, v2.6.33; specification HP. Context: mmap_sem held; sleeps.

    Returns:
        VM_FAULT_* bits; 0 means served or retry.
    """
    mm = vma.vm_mm
    cell = mm.pte(address)
    pte = await cell.read(HP["1"])
    if pte.none:
        return await do_anonymous_page(g, vma, address, cell, write=write)
    if not pte.present:
        return await do_swap_page(g, vma, address, cell, pte, write=write)
    ptl = mm.ptl(address)
    await ptl.lock(HP["4"])
    if await cell.read(HP["5"]) != pte:
        ptl.unlock(HP["5"])
        return 0
    if write and not pte.write:
        return await do_wp_page(g, vma, address, cell, ptl, pte)
    # Read again in the step that stores: another thread's access may have set bits meanwhile.
    pte = await cell.read(HP["8"])
    cell.write_in_step(HP["8"], pte._replace(young=True, dirty=pte.dirty or write))
    ptl.unlock(HP["8"])
    return 0


async def do_anonymous_page(
    g: Globals, vma: Vma, address: Vaddr, cell: Cell[Pte], *, write: bool
) -> int:
    """AF: first touch of an address. Kernel: mm/memory.c, do_anonymous_page(), v2.6.33."""
    ptl = vma.vm_mm.ptl(address)
    if not write:
        await ptl.lock(AF_ZERO["zero.1"])
        if (await cell.read(AF_ZERO["zero.2"])).none:
            await cell.write(AF_ZERO["zero.3"], ZERO_PTE)
        ptl.unlock(AF_ZERO["zero.3"])
        return 0
    if await anon_vma_prepare(g, vma, AF["1"]):
        return VM_FAULT_OOM
    page = await alloc_page_vma(g, vma, address, AF["2"], zero=True)
    if page is None:
        return VM_FAULT_OOM
    await page.flags.set(AF["3"], PG_UPTODATE)
    await ptl.lock(AF["4"])
    if not (await cell.read(AF["5"])).none:
        await put_page(g, page, AF["5/put_page"])
        ptl.unlock(AF["5"])
        return 0
    await page_add_new_anon_rmap(g, page, vma, address, AF["6"])
    writable = bool(vma.vm_flags & VM_WRITE)
    await cell.write(AF["7"], Pte("present", page.pfn, writable, dirty=True, young=True))
    ptl.unlock(AF["7"])
    return 0


async def do_swap_page(
    g: Globals, vma: Vma, address: Vaddr, cell: Cell[Pte], orig: Pte, *, write: bool
) -> int:
    """SW: bring a page back from swap, or wait for a migration to end; no lock held on entry.

    Kernel: mm/memory.c, do_swap_page(), v2.6.33; specification SW.1-13. After the page lock the
    only check is that the pte is still the same, unless `swapin_rechecks_swap_cache`.
    """
    mm = vma.vm_mm
    ptl = mm.ptl(address)
    if orig.migration:
        await migration_entry_wait(g, mm, address)
        return 0
    entry = orig.pfn
    page, ret = await lookup_swap_cache(g, entry, SW["2"]), 0
    if page is None:
        page, ret = await swapin_readahead(g, entry, vma, address), VM_FAULT_MAJOR
    if page is None:
        await ptl.lock(SW["3"])
        same = await cell.read(SW["3#2"]) == orig
        ptl.unlock(SW["3#2"])
        return VM_FAULT_OOM if same else 0
    await page.page_lock.lock(SW["4"])
    if g.kernel.swapin_rechecks_swap_cache and not await _still_cached(page, entry):
        await page.page_lock.unlock(SW_CHECK["unlock"])
        await put_page(g, page, SW["8/put_page"])
        return ret
    used = await ksm_might_need_to_copy(g, page, vma, address)
    if used is None:
        return ret | VM_FAULT_OOM
    kept = page if used is not page and g.kernel.swapin_rechecks_swap_cache else None
    page = used
    await g.rt.point(SW["6"], "mem_cgroup_try_charge_swapin", None)
    await ptl.lock(SW["7"])
    nomap = await cell.read(SW["8"]) != orig
    if not nomap and not await page.flags.test(SW["8#2"], PG_UPTODATE):
        nomap, ret = True, ret | VM_FAULT_SIGBUS
    if nomap:
        ptl.unlock(SW["8"])
        await page.page_lock.unlock(SW["8#3"])
        await put_page(g, page, SW["8/put_page"])
        await _release_original(g, kept)
        return ret
    pte, served = await _map_swapped(g, vma, address, cell, page, entry, write=write)
    await page.page_lock.unlock(SW["12"])
    await _release_original(g, kept)
    if not served:
        return ret | await do_wp_page(g, vma, address, cell, ptl, pte)
    ptl.unlock(SW["12"])
    return ret


async def _still_cached(page: Page, entry: SwapEntry) -> bool:
    """Is the page, now locked, what the swap entry leads to? Not in v2.6.33."""
    if not await page.flags.test(SW_CHECK["cached"], PG_SWAPCACHE):
        return False
    return await page.private.read(SW_CHECK["entry"]) == entry


async def _release_original(g: Globals, page: Page | None) -> None:
    """Give up the page that was copied: not before the pte, which pins its slot. Not in v2.6.33."""
    if page is not None:
        await page.page_lock.unlock(SW_CHECK["unlock"])
        await put_page(g, page, SW["8/put_page"])


async def _map_swapped(
    g: Globals,
    vma: Vma,
    address: Vaddr,
    cell: Cell[Pte],
    page: Page,
    entry: SwapEntry,
    *,
    write: bool,
) -> tuple[Pte, bool]:
    """SW.9-11: map a locked page where its swap entry was; pte lock held.

    Returns:
        (new pte, whether the fault is served: a write to a page that others need is not).
    """
    reuse = write and await reuse_swap_page(g, page)
    writable = reuse and bool(vma.vm_flags & VM_WRITE)
    pte = Pte("present", page.pfn, writable, dirty=reuse, young=True)
    await cell.write(SW["9c"], pte)
    await page_add_anon_rmap(page, vma, address, SW["9d"])
    await swap_free(g, entry, SW["10"])
    locked = vma.vm_flags & VM_LOCKED
    if (
        await vm_swap_full(g, SW["11/vm_swap_full"])
        or locked
        or await page.flags.test(SW["11#2"], PG_MLOCKED)
    ):
        await try_to_free_swap(g, page)
    return pte, reuse or not write


async def do_wp_page(
    g: Globals, vma: Vma, address: Vaddr, cell: Cell[Pte], ptl: SpinLock, orig: Pte
) -> int:
    """CW: a write to a read-only pte; the pte lock is held on entry and released.

    Kernel: mm/memory.c, do_wp_page(), v2.6.33; specification CW.1-13.
    """
    page = vm_normal_page(g, orig)
    if page is not None:
        word = await page.mapping.read(CW["1"])
        if word is not None and not word.ksm:
            served = await _wp_anon(g, vma, page, cell, ptl, orig)
            if served is not None:
                return served
        await get_page(page, CW["3"])
    ptl.unlock(CW["3"])
    return await _wp_copy(g, vma, address, page, cell, ptl, orig)


async def _wp_anon(
    g: Globals, vma: Vma, page: Page, cell: Cell[Pte], ptl: SpinLock, orig: Pte
) -> int | None:
    """CW.1: reuse an ordinary page that nobody else maps; None: it must be copied (lock held)."""
    if not await page.page_lock.trylock(CW["1.1"]):
        await get_page(page, CW["1.1#2"])
        ptl.unlock(CW["1.1#2"])
        await page.page_lock.lock(CW["1.1#3"])
        await ptl.lock(CW["1.1#4"])
        changed = await cell.read(CW["1.1#5"]) != orig
        if changed:
            await page.page_lock.unlock(CW["1.1#6"])
        await put_page(g, page, CW["1.1#6"])
        if changed:
            ptl.unlock(CW["1.1#6"])
            return 0
    reuse = await reuse_swap_page(g, page)
    await page.page_lock.unlock(CW["1.2"])
    if not reuse:
        return None
    writable = bool(vma.vm_flags & VM_WRITE)
    await cell.write(CW["1.3"], orig._replace(write=writable, dirty=True, young=True))
    ptl.unlock(CW["1.3"])
    return VM_FAULT_WRITE


async def _wp_copy(
    g: Globals,
    vma: Vma,
    address: Vaddr,
    page: Page | None,
    cell: Cell[Pte],
    ptl: SpinLock,
    orig: Pte,
) -> int:
    """CW.4-13: copy to a fresh page; the caller holds a reference on `page`, no pte lock."""
    new: Page | None = None
    if not await anon_vma_prepare(g, vma, CW["4"]):
        new = await alloc_page_vma(g, vma, address, CW["5"], zero=page is None)
    if new is None:
        if page is not None:
            await put_page(g, page, CW["12/put_page"])
        return VM_FAULT_OOM
    if page is not None:
        for half, label in ((0, CW["6"]), (1, CW["6#2"])):
            new.content[half].write_in_step(label, await page.content[half].read(label))
    await new.flags.set(CW["7"], PG_UPTODATE)
    if page is not None and vma.vm_flags & VM_LOCKED:
        # Whoever else maps the old page may not have it locked.
        await page.page_lock.lock(CW["8"])
        await clear_page_mlock(g, page, CW["8"])
        await page.page_lock.unlock(CW["8#2"])
    await ptl.lock(CW["9"])
    ret = 0
    surplus: Page | None = new
    if await cell.read(CW["10"]) == orig:
        await cell.write(CW["10a"], PTE_NONE)
        await page_add_new_anon_rmap(g, new, vma, address, CW["10b"])
        writable = bool(vma.vm_flags & VM_WRITE)
        await cell.write(CW["10c"], Pte("present", new.pfn, writable, dirty=True, young=True))
        if page is not None:
            await page_remove_rmap(page, CW["10d"])
        surplus = page
        ret = VM_FAULT_WRITE
    if surplus is not None:
        await put_page(g, surplus, CW["11/put_page"])
    if page is not None:
        await put_page(g, page, CW["12/put_page"])
    ptl.unlock(CW["12/put_page"])
    return ret


async def zap_pte_range(g: Globals, vma: Vma, start: Vaddr, end: Vaddr) -> list[Page]:
    """ZP.1-4: clear the ptes of a range.

    Kernel: mm/memory.c, zap_pte_range(), v2.6.33. Context: mmap_sem held for write, or none at
    exit. One pte lock is held over each page-table page.

    Returns:
        The pages that were mapped, each still with its pte's reference (the TLB batch).
    """
    mm: MmStruct = vma.vm_mm
    batch: list[Page] = []
    vpn, last = start >> PAGE_SHIFT, end >> PAGE_SHIFT
    while vpn < last:
        stop = min(last, (vpn // PAGES_PER_PTE_TABLE + 1) * PAGES_PER_PTE_TABLE)
        if next(mm.ptes.irange(vpn, stop, inclusive=(True, False)), None) is not None:
            ptl = mm.ptl(vpn << PAGE_SHIFT)
            await ptl.lock(ZP_LOCK["lock"])
            for number in list(mm.ptes.irange(vpn, stop, inclusive=(True, False))):
                page = await _zap_pte(g, mm, number)
                if page is not None:
                    batch.append(page)
            ptl.unlock(ZP_LOCK["lock"])
        vpn = stop
    return batch


async def zap_page_range(g: Globals, vma: Vma, start: Vaddr, end: Vaddr) -> None:
    """zap_page_range(): unmap the pages of a range that stays mapped, for MADV_DONTNEED.

    Kernel: mm/memory.c, v2.6.33; specification ZP. Context: mmap_sem held, for read at least.
    """
    await lru_add_drain(g, ZAP["1"])
    await tlb_finish_mmu(g, await zap_pte_range(g, vma, start, end))


async def _zap_pte(g: Globals, mm: MmStruct, vpn: Vpn) -> Page | None:
    cell = mm.ptes[vpn]
    pte = await cell.read(ZP["1"])
    if pte.none:
        return None
    if not pte.present:
        if pte.swap:
            await free_swap_and_cache(g, pte.pfn)
        await cell.write(ZP["4"], PTE_NONE)
    else:
        await cell.write(ZP["1#2"], PTE_NONE)
    for watcher in g.user_access:
        watcher.unmapped(mm, vpn << PAGE_SHIFT, (vpn + 1) << PAGE_SHIFT)
    if not pte.present:
        return None
    page = vm_normal_page(g, pte)
    if page is not None:
        await page_remove_rmap(page, ZP["2"])
    return page


async def tlb_finish_mmu(g: Globals, batch: list[Page]) -> None:
    """ZP.5-6: flush the TLB, then drop the references of the unmapped pages.

    Kernel: free_pages_and_swap_cache(), v2.6.33: drains this CPU's pagevecs first, and takes pages
    that nothing maps any more out of the swap cache.
    """
    if not batch:
        return
    await lru_add_drain(g, ZP["5"])
    for page in batch:
        await free_swap_cache(g, page, ZP["6"])
    for page in batch:
        await put_page(g, page, ZP["6/put_page"])
