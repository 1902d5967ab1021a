# SPDX-License-Identifier: GPL-2.0-or-later
"""What swap-in asks KSM: may this page from the swap cache be mapped here.

Kernel: mm/ksm.c, v2.6.33; specification NC. Apart from ksm.py because memory.py needs it and is
needed there. Tests: `tests/unit/test_ksm_swap.py`.
"""

from __future__ import annotations

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_types import KSM_RUN_UNMERGE, PAGE_MASK, StableNode
from ksmtrio.mm.mempolicy_alloc import alloc_page_vma
from ksmtrio.mm.mm_types import VM_LOCKED, VM_MERGEABLE, Page, Vma, page_anon_vma, page_stable_node
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON
from ksmtrio.mm.page_flags import PG_DIRTY, PG_MLOCKED, PG_SWAPBACKED, PG_UPTODATE
from ksmtrio.mm.swap import add_page_to_unevictable_list, lru_cache_add_lru, put_page
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

CASE = Points(__name__, "ksm_might_need_to_copy", "", "case case#2 case#3 run ksm ksm#2 ksm#3")
NC = Points(
    __name__,
    "ksm_might_need_to_copy",
    "NC",
    "1 2 2#2 2#3 2/put_page 3 3#2 4 4#2 4/lru_cache_add 4/pagevec_lru_add 4/pagevec_lru_add#2 "
    "4/release_pages 5",
)


async def _serves_as_it_is(g: Globals, page: Page, vma: Vma, address: Vaddr) -> bool:
    """NC, the cases: may a locked page from the swap cache be mapped at an address?"""
    anon_vma = await page_anon_vma(page, CASE["case"])
    if anon_vma is None:
        return await _serves_as_ksm_page(g, page, vma, address)
    index = await page.index.read(CASE["case#2"])
    same = anon_vma is await vma.anon_vma.read(CASE["case#3"])
    return same and index == vma.linear_page_index(address)


async def _serves_as_ksm_page(g: Globals, page: Page, vma: Vma, address: Vaddr) -> bool:
    """NC, case 1: always in v2.6.33, unless the page is fresh from swap and no KSM page."""
    asks_run = g.kernel.swapin_copies_once_unmerged
    asks_items = g.kernel.proposed_items_follow_mappings
    if not asks_run and not asks_items:
        return True
    stable_node = await page_stable_node(page, CASE["ksm"])
    if stable_node is None:
        return True
    if asks_run and await g.ksm.ksm_run.read(CASE["run"]) & KSM_RUN_UNMERGE:
        return False
    return not asks_items or await _leads_to(g, stable_node, vma, address)


async def _leads_to(g: Globals, stable_node: StableNode, vma: Vma, address: Vaddr) -> bool:
    """Ours, no kernel has it: would the reverse map find a pte of the locked KSM page here?"""
    anon_vma = await vma.anon_vma.read(CASE["ksm#2"])
    await g.rt.point(CASE["ksm#3"], "hlist_for_each", stable_node.kpfn)
    if not vma.vm_flags & VM_MERGEABLE:
        return False
    return any(
        item.anon_vma is anon_vma and item.address & PAGE_MASK == address
        for item in stable_node.hlist
    )


async def ksm_might_need_to_copy(g: Globals, page: Page, vma: Vma, address: Vaddr) -> Page | None:
    """NC: the page to map at an address whose swap entry led to `page`.

    Kernel: mm/ksm.c, ksm_might_need_to_copy() and ksm_does_need_to_copy(), v2.6.33; specification
    NC.1-5. Context: page locked and referenced, mmap_sem held; sleeps. A page without anon_vma is
    fresh from swap, or still a KSM page: it serves as it is. A page of another anon_vma or offset
    once backed a KSM page: it is copied.

    Returns:
        `page`; or a copy, locked, with the lock and the reference on `page` given up (with
        `swapin_rechecks_swap_cache` both are kept); or None when memory is short, `page` given up
        as well.
    """
    if not g.kernel.CONFIG_KSM or await _serves_as_it_is(g, page, vma, address):
        return page
    keeps = g.kernel.swapin_rechecks_swap_cache
    if not keeps:
        await page.page_lock.unlock(NC["1"])
    new = await _copy(g, page, vma, address)
    if keeps and new is not None:
        return new
    if keeps:
        await page.page_lock.unlock(NC["1"])
    await put_page(g, page, NC["5"] if new is not None else NC["2/put_page"])
    return new


async def page_for_swapoff(g: Globals, page: Page, vma: Vma, address: Vaddr) -> Page | None:
    """ksm_might_need_to_copy() as swapoff of later kernels calls it: `page` stays locked and held.

    Returns:
        `page`; or a copy, locked, with a reference; or None when memory is short.
    """
    if await _serves_as_it_is(g, page, vma, address):
        return page
    return await _copy(g, page, vma, address)


async def _copy(g: Globals, page: Page, vma: Vma, address: Vaddr) -> Page | None:
    """NC.2-4: a copy for one address, locked and on its way to the LRU; None without memory."""
    new = await alloc_page_vma(g, vma, address, NC["2"])
    if new is not None:
        for half, label in ((0, NC["3"]), (1, NC["3#2"])):
            new.content[half].write_in_step(label, await page.content[half].read(label))
        new.page_lock.set_page_locked(NC["4"])
        new.flags.change_in_step(NC["4"], set_=PG_DIRTY | PG_UPTODATE | PG_SWAPBACKED)
        if vma.vm_flags & VM_LOCKED:
            new.flags.change_in_step(NC["4"], set_=PG_MLOCKED)
            await add_page_to_unevictable_list(g, new, NC["4"])
        else:
            await lru_cache_add_lru(g, new, LRU_ACTIVE_ANON, NC["4"])
    return new
