# SPDX-License-Identifier: GPL-2.0-or-later
"""KSM's page table work: write protection, replacement, and breaking a merge up again.

Kernel: mm/ksm.c, v2.6.33; specification M2 MK M1 WP RP BK BC UP.
Tests: `tests/unit/test_ksm_merge.py`.
"""

from __future__ import annotations

from errno import EFAULT, ENOMEM

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_tree import (
    drop_anon_vma,
    hold_anon_vma,
    memcmp_pages,
    set_page_stable_node_null,
    stable_tree_insert,
)
from ksmtrio.mm.ksm_types import PAGE_MASK, RmapItem
from ksmtrio.mm.memory import (
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    VM_FAULT_WRITE,
    follow_page,
    handle_mm_fault,
)
from ksmtrio.mm.mlock_page import mlock_vma_page
from ksmtrio.mm.mlock_pages import munlock_vma_page
from ksmtrio.mm.mm_types import (
    PTE_NONE,
    VM_LOCKED,
    VM_MERGEABLE,
    MmStruct,
    Page,
    Pte,
    Vma,
    page_anon,
    page_ksm,
    page_mapcount,
)
from ksmtrio.mm.mmap import vma_at
from ksmtrio.mm.page_flags import PG_DIRTY, PG_MLOCKED, PG_SWAPCACHE
from ksmtrio.mm.rmap import (
    page_add_anon_rmap,
    page_address_in_vma,
    page_check_address,
    page_remove_rmap,
)
from ksmtrio.mm.signal import ERESTARTSYS, signal_pending
from ksmtrio.mm.swap import get_page, mark_page_accessed, put_page
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SIZE, Vaddr

MK = Points(__name__, "try_to_merge_with_ksm_page", "MK", "1 2 5 6")
MK_VMA = Points(__name__, "try_to_merge_with_ksm_page", "", "3")
M1 = Points(
    __name__,
    "try_to_merge_one_page",
    "M1",
    "2 3 6 6/mark_page_accessed 6/mark_page_accessed#2 6/activate_page 7 8 8/munlock_vma_page "
    "8#2 8#3 8#4 8/mlock_vma_page 9",
)
WP = Points(
    __name__,
    "write_protect_page",
    "WP",
    "1 1#2 1#3 1#4 2 2#2 2#3 3 4 5 6 6#2 6#3 7 7/set_page_dirty 8",
)
RP = Points(
    __name__, "replace_page", "RP", "1 1#2 1#3 1#4 2 2#2 3a 3b 3b#2 3b#3 3c 3d 3e 3f/put_page"
)
BK = Points(__name__, "break_ksm", "BK", "1 3 4/put_page")
BC = Points(__name__, "break_cow", "BC", "2 3 3#2 5")
UP = Points(__name__, "unmerge_ksm_pages", "UP", "1 2")


async def try_to_merge_two_pages(
    g: Globals, rmap_item: RmapItem, page: Page, tree_rmap_item: RmapItem, tree_page: Page
) -> Page | None:
    """M2: upgrade `page` to KSM, then let the other address map it too.

    Kernel: mm/ksm.c, try_to_merge_two_pages(), v2.6.33; specification M2.1-4.

    Returns:
        `page`, now a KSM page without node, or None.
    """
    if await try_to_merge_with_ksm_page(g, rmap_item, page, None):
        return None
    if await try_to_merge_with_ksm_page(g, tree_rmap_item, tree_page, page):
        await break_cow(g, rmap_item)
        return None
    return page


async def try_to_merge_with_ksm_page(
    g: Globals, rmap_item: RmapItem, page: Page, kpage: Page | None
) -> int:
    """MK: merge the page at an item's address into `kpage`, or upgrade it (None).

    Kernel: mm/ksm.c, try_to_merge_with_ksm_page(), v2.6.33; specification MK.1-6.

    Returns:
        0 or -EFAULT.
    """
    mm = rmap_item.mm
    address = rmap_item.address & PAGE_MASK
    await mm.mmap_sem.down_read(MK["1"])
    err = -EFAULT
    if await mm.mm_users.read(MK["2"]) != 0:
        if g.kernel.merge_wants_mergeable_vma:
            vma = await mergeable_vma(mm, address, MK_VMA["3"])
        else:
            vma = vma_at(mm, address)
        if vma is not None:
            err = await try_to_merge_one_page(g, vma, page, kpage)
            if err == 0:
                await hold_anon_vma(rmap_item, await vma.anon_vma.read(MK["5"]))
    await mm.mmap_sem.up_read(MK["6"])
    return err


async def try_to_merge_one_page(g: Globals, vma: Vma, page: Page, kpage: Page | None) -> int:
    """M1: the page-locked part of a merge.

    Kernel: mm/ksm.c, try_to_merge_one_page(), v2.6.33; specification M1.1-9.
    """
    if page is kpage:
        return 0
    if not vma.vm_flags & VM_MERGEABLE or not await page_anon(page, M1["2"]):
        return -EFAULT
    if not await page.page_lock.trylock(M1["3"]):
        return -EFAULT
    err = -EFAULT
    orig_pte = await write_protect_page(g, vma, page)
    if orig_pte is not None:
        if kpage is None and g.kernel.proposed_insert_before_upgrade:
            # No page is ever KSM without node: forks made in between cannot be left behind.
            if await stable_tree_insert(g, page) is not None:
                await mark_page_accessed(g, page, M1["6"])
                err = 0
        elif kpage is None:
            await set_page_stable_node_null(page, M1["6"])
            await mark_page_accessed(g, page, M1["6"])
            err = 0
        elif await memcmp_pages(page, kpage, M1["7"]) == 0:
            err = await replace_page(g, vma, page, kpage, orig_pte)
    locked = page
    if err == 0 and kpage is not None and vma.vm_flags & VM_LOCKED:
        locked = await _hand_mlock_over(g, page, kpage)
    await locked.page_lock.unlock(M1["9"])
    return err


async def _hand_mlock_over(g: Globals, page: Page, kpage: Page) -> Page:
    """M1.8: in a VM_LOCKED vma `kpage` is to be mlocked in place of `page`, which is locked.

    Never are both pages locked at once: two tasks could wait for each other's.

    Returns:
        The page that is locked now.
    """
    await munlock_vma_page(g, page, M1["8"])
    if await kpage.flags.test(M1["8#2"], PG_MLOCKED):
        return page
    await page.page_lock.unlock(M1["8#3"])
    await kpage.page_lock.lock(M1["8#4"])
    await mlock_vma_page(g, kpage, M1["8"])
    return kpage


async def mergeable_vma(mm: MmStruct, address: Vaddr, at: str) -> Vma | None:
    """Return the vma at an address if ksmd may merge there; mmap_sem held.

    Kernel: part of get_mergeable_page() and break_cow(); find_mergeable_vma() of later kernels.
    """
    vma = vma_at(mm, address)
    if vma is None or not vma.vm_flags & VM_MERGEABLE:
        return None
    return vma if await vma.anon_vma.read(at) is not None else None


async def write_protect_page(g: Globals, vma: Vma, page: Page) -> Pte | None:
    """WP: make the page's pte read-only, unless somebody else holds a reference.

    Kernel: mm/ksm.c, write_protect_page(), v2.6.33; specification WP.1-8. Context: page locked,
    mmap_sem read. The reference count is not looked at when the pte is read-only already, nor is
    its dirty bit, unless `write_protect_cleans_pte`.

    Returns:
        The pte's value, or None.
    """
    address = await page_address_in_vma(page, vma, WP["1"])
    if address is None:
        return None
    found = await page_check_address(page, vma.vm_mm, address, WP["2"])
    if found is None:
        return None
    cell, ptl = found
    cleans = g.kernel.write_protect_cleans_pte
    old = await cell.read(WP["3"])
    if old.write or (cleans and old.dirty):
        swapped = await page.flags.test(WP["4"], PG_SWAPCACHE)
        # Clearing comes first, so that no user store and no lockless gup can start through the
        # pte once the count is looked at. Reading and clearing are one step: a user access may
        # set young and dirty until then.
        pte = await cell.read(WP["5"])
        cell.write_in_step(WP["5"], PTE_NONE)
        mapcount = await page_mapcount(page, WP["6"])
        if mapcount + 1 + swapped != await page.count.read(WP["6#2"]):
            await cell.write(WP["6#3"], pte)
            ptl.unlock(WP["6#3"])
            return None
        if cleans and pte.dirty:
            # The page may be a clean copy of its swap slot: without this, reclaim would drop it.
            await page.flags.set(WP["7/set_page_dirty"], PG_DIRTY)
            pte = pte._replace(dirty=False)
        await cell.write(WP["7"], pte._replace(write=False))
    orig_pte = await cell.read(WP["8"])
    ptl.unlock(WP["8"])
    return orig_pte


async def replace_page(g: Globals, vma: Vma, page: Page, kpage: Page, orig_pte: Pte) -> int:
    """RP: let the pte that maps `page` map `kpage`.

    Kernel: mm/ksm.c, replace_page(), v2.6.33; specification RP.1-4. Context: `page` locked, `kpage`
    only referenced.
    """
    address = await page_address_in_vma(page, vma, RP["1"])
    if address is None:
        return -EFAULT
    cell, ptl = vma.vm_mm.pte(address), vma.vm_mm.ptl(address)
    await ptl.lock(RP["2"])
    if await cell.read(RP["2#2"]) != orig_pte:
        ptl.unlock(RP["2#2"])
        return -EFAULT
    await get_page(kpage, RP["3a"])
    await page_add_anon_rmap(kpage, vma, address, RP["3b"])
    await cell.write(RP["3c"], PTE_NONE)
    await cell.write(RP["3d"], Pte("present", kpage.pfn, young=True))
    await page_remove_rmap(page, RP["3e"])
    await put_page(g, page, RP["3f/put_page"])
    ptl.unlock(RP["3f/put_page"])
    g.trace(RP["3d"], "ksm:ksm_merge_with_ksm_page", pfn=kpage.pfn, mm=vma.vm_mm.label)
    return 0


async def break_ksm(g: Globals, vma: Vma, address: Vaddr) -> int:
    """BK: fault a private copy in where a KSM page is mapped; mmap_sem held.

    Kernel: mm/ksm.c, break_ksm(), v2.6.33; specification BK.1-5. Passes over migration entries,
    unless `break_ksm_waits_for_migration`.

    Returns:
        0 or -ENOMEM.
    """
    ret = 0
    while not ret & (VM_FAULT_WRITE | VM_FAULT_SIGBUS | VM_FAULT_OOM):
        await g.rt.cond_resched(BK["1"])
        waits = g.kernel.break_ksm_waits_for_migration
        page = await follow_page(g, vma, address, foll_migration=waits)
        if page is None:
            break
        if await page_ksm(page, BK["3"]):
            ret = await handle_mm_fault(g, vma, address, write=True)
        else:
            ret = VM_FAULT_WRITE
        await put_page(g, page, BK["4/put_page"])
    return -ENOMEM if ret & VM_FAULT_OOM else 0


async def break_cow(g: Globals, rmap_item: RmapItem) -> None:
    """BC: undo a merge whose item will not be appended.

    Kernel: mm/ksm.c, break_cow(), v2.6.33; specification BC.1-5.
    """
    mm = rmap_item.mm
    address = rmap_item.address & PAGE_MASK
    await drop_anon_vma(g, rmap_item)
    await mm.mmap_sem.down_read(BC["2"])
    if await mm.mm_users.read(BC["3"]) != 0:
        vma = await mergeable_vma(mm, address, BC["3#2"])
        if vma is not None:
            await break_ksm(g, vma, address)
    await mm.mmap_sem.up_read(BC["5"])


async def unmerge_ksm_pages(g: Globals, vma: Vma, start: Vaddr, end: Vaddr) -> int:
    """UP: break every KSM page of a range; mmap_sem held. Items are left for ksmd to clean up.

    Kernel: mm/ksm.c, unmerge_ksm_pages(), v2.6.33.

    Steps of UP, for each page address:
        1. The address space is being torn down: return 0.
        2. A signal is pending: return -ERESTARTSYS.
        3. BK; an error ends the loop.

    Returns:
        0, -ENOMEM or -ERESTARTSYS.
    """
    for address in range(start, end, PAGE_SIZE):
        if await vma.vm_mm.mm_users.read(UP["1"]) == 0:
            return 0
        if await signal_pending(g, UP["2"]):
            return -ERESTARTSYS
        err = await break_ksm(g, vma, address)
        if err:
            return err
    return 0
