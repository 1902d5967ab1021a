# SPDX-License-Identifier: GPL-2.0-or-later
"""Reverse maps of KSM pages, and moving a KSM page's node along with it.

Kernel: mm/ksm.c, v2.6.33; specification PR TU RW KM. Also the dispatch of mm/rmap.c between
ordinary and KSM pages, which needs both kinds. The lock of the page at kpfn is held throughout: it
is what keeps the list of items still. Tests: `tests/unit/test_ksm_rmap.py`.
"""

from __future__ import annotations

from ksmtrio.errors import VmBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_tree import hlist_next, kpfn_of, stable_node_page
from ksmtrio.mm.ksm_types import PAGE_MASK, RmapItem
from ksmtrio.mm.mm_types import (
    AnonVma,
    MappingWord,
    Page,
    Vma,
    page_ksm,
    page_mapcount,
    page_mapped,
    page_stable_node,
    page_stable_node_of,
)
from ksmtrio.mm.page_flags import PG_LOCKED, PG_LRU, PG_REFERENCED
from ksmtrio.mm.rmap import (
    SWAP_AGAIN,
    SWAP_FAIL,
    SWAP_MLOCK,
    SWAP_SUCCESS,
    TTU_MUNLOCK,
    Referenced,
    RmapAction,
    page_referenced_anon,
    page_referenced_one,
    rmap_walk_anon,
    try_to_unmap_anon,
    try_to_unmap_one,
)
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

PR = Points(__name__, "page_referenced_ksm", "PR", "1 2 3 3.1")
TU = Points(__name__, "try_to_unmap_ksm", "TU", "1 2 2.1 2.2")
RW = Points(__name__, "rmap_walk_ksm", "RW", "1 2 2.1")
KM = Points(__name__, "ksm_migrate_page", "KM", "1 2 3")
UNMAP = Points(__name__, "try_to_unmap", "", "1 2")
MUNLOCK = Points(__name__, "try_to_munlock", "", "1")
REF = Points(__name__, "page_referenced", "", "1 2 3 4 5 6 7")
WALK = Points(__name__, "rmap_walk", "", "1")


async def try_to_unmap(g: Globals, page: Page, flags: int) -> int:
    """try_to_unmap(): replace every pte of a locked page, as far as the reverse map finds them.

    Kernel: mm/rmap.c, v2.6.33. `flags` are TTU_*.

    Returns:
        SWAP_SUCCESS when nothing maps the page any more, else SWAP_AGAIN, SWAP_FAIL or SWAP_MLOCK.
    """
    if await page_ksm(page, UNMAP["1"]):
        ret = await try_to_unmap_ksm(g, page, flags)
    else:
        ret = await try_to_unmap_anon(g, page, flags)
    if ret != SWAP_MLOCK and not await page_mapped(page, UNMAP["2"]):
        return SWAP_SUCCESS
    return ret


async def try_to_munlock(g: Globals, page: Page) -> int:
    """try_to_munlock(): does another VM_LOCKED vma map the page? If so it is mlocked again.

    Kernel: mm/rmap.c, v2.6.33. Context: page locked and isolated.

    Returns:
        SWAP_MLOCK when it is, SWAP_AGAIN when it is not (or could not be found out), SWAP_FAIL for
        a KSM page without node.
    """
    if not page.page_lock.held_by(g.rt.me) or page.flags.read_in_step(MUNLOCK["1"]) & PG_LRU:
        raise VmBug(MUNLOCK["1"], f"VM_BUG_ON(!PageLocked || PageLRU), pfn {page.pfn}")
    if await page_ksm(page, MUNLOCK["1"]):
        return await try_to_unmap_ksm(g, page, TTU_MUNLOCK)
    return await try_to_unmap_anon(g, page, TTU_MUNLOCK)


async def page_referenced(g: Globals, page: Page, *, is_locked: bool) -> Referenced:
    """page_referenced(): how many ptes, and PG_referenced, say that the page was used.

    Kernel: mm/rmap.c, v2.6.33. Clears what it counts.

    Steps:
        1. Test and clear PG_referenced.
        2. Read the mapcount. 3. Read the mapping word. Not mapped, or neither an anon_vma nor a
           stable node in the word: only 1 counts.
        4. Unless the caller has locked the page: read PageKsm.
        5. KSM: TRYLOCK the page; failed: it counts as referenced, done.
        6. Read PageKsm again: PR, or the ptes of an ordinary page. **A page that went KSM since 4
           is walked without its lock**, unless `proposed_referenced_looks_once`.
        7. UNLOCK the page if it was locked here.
    """
    referenced = Referenced(0)
    marked = await page.flags.test_and_clear(REF["1"], PG_REFERENCED)
    if await page_mapped(page, REF["2"]) and _page_rmapping(await page.mapping.read(REF["3"])):
        ksm = not is_locked and await page_ksm(page, REF["4"])
        we_locked = ksm and await page.page_lock.trylock(REF["5"])
        if ksm and not we_locked:
            referenced.count = 1
        else:
            if is_locked or not g.kernel.proposed_referenced_looks_once:
                ksm = await page_ksm(page, REF["6"])
            walk = page_referenced_ksm if ksm else page_referenced_anon
            referenced = await walk(g, page)
        if we_locked:
            await page.page_lock.unlock(REF["7"])
    referenced.count += marked
    return referenced


def _page_rmapping(word: MappingWord | None) -> bool:
    """page_rmapping(): whether a mapping word names anything; that of KSM(NULL) does not."""
    return word is not None and word.target is not None


async def rmap_walk(g: Globals, page: Page, action: RmapAction) -> int:
    """rmap_walk(): call `action` wherever a locked page may be mapped."""
    if await page_ksm(page, WALK["1"]):
        return await rmap_walk_ksm(g, page, action)
    return await rmap_walk_anon(page, action)


async def _lock_item_anon_vma(rmap_item: RmapItem, at: str) -> tuple[AnonVma, Vaddr]:
    """Lock an item's anon_vma, on which it has a hold; return it with the item's address."""
    anon_vma = rmap_item.anon_vma
    assert anon_vma is not None, "a stable rmap_item holds an anon_vma"
    await anon_vma.lock.lock(at)
    return anon_vma, rmap_item.address & PAGE_MASK


def _vmas_of_pass(
    anon_vma: AnonVma, rmap_item: RmapItem, address: Vaddr, *, forks: bool
) -> list[Vma]:
    """Return the vmas that cover an item's address: its own mm's, or in pass 1 all others."""
    return [
        vma
        for vma in anon_vma.head
        if vma.vm_start <= address < vma.vm_end and (vma.vm_mm is not rmap_item.mm) == forks
    ]


async def page_referenced_ksm(g: Globals, page: Page) -> Referenced:
    """PR: test and clear the accessed bits that the node's items lead to; page locked.

    Kernel: mm/ksm.c, page_referenced_ksm(), v2.6.33.

    Steps of PR:
        1. Read the mapcount: so many ptes are to be found. Nobody has locked the page: VM_BUG.
        2. Read the node; none: nothing is referenced.
        3. For each item, in pass 0 for the item's own mm and in pass 1 for those that forked from
           it: LOCK its anon_vma; page_referenced_one where its address is covered; UNLOCK. All
           ptes found: done.
    """
    found = Referenced(await page_mapcount(page, PR["1"]))
    if not page.flags.read_in_step(PR["1"]) & PG_LOCKED:
        raise VmBug(PR["1"], f"VM_BUG_ON(!PageLocked) in page_referenced_ksm, pfn {page.pfn}")
    stable_node = await page_stable_node(page, PR["2"])
    if stable_node is None:
        return found
    for forks in (False, True):
        rmap_item = await hlist_next(g, stable_node, None, PR["3"])
        while rmap_item is not None:
            anon_vma, address = await _lock_item_anon_vma(rmap_item, PR["3.1"])
            for vma in _vmas_of_pass(anon_vma, rmap_item, address, forks=forks):
                await page_referenced_one(page, vma, address, found)
                if not forks or found.mapcount == 0:
                    break
            anon_vma.lock.unlock(PR["3.1"])
            if found.mapcount == 0:
                return found
            rmap_item = await hlist_next(g, stable_node, rmap_item, PR["3"])
    return found


async def try_to_unmap_ksm(g: Globals, page: Page, flags: int) -> int:
    """TU: replace the ptes that the node's items lead to; page locked.

    Kernel: mm/ksm.c, try_to_unmap_ksm(), v2.6.33; specification TU.1-3. Pass 0 visits the items'
    own mms, pass 1 those that forked from them. `flags` are TTU_*.
    """
    stable_node = await page_stable_node(page, TU["1"])
    if stable_node is None:
        return SWAP_FAIL
    ret = SWAP_AGAIN
    for forks in (False, True):
        rmap_item = await hlist_next(g, stable_node, None, TU["2"])
        while rmap_item is not None:
            anon_vma, address = await _lock_item_anon_vma(rmap_item, TU["2.1"])
            for vma in _vmas_of_pass(anon_vma, rmap_item, address, forks=forks):
                ret = await try_to_unmap_one(g, page, vma, address, flags)
                if ret != SWAP_AGAIN or not await page_mapped(page, TU["2.2"]):
                    anon_vma.lock.unlock(TU["2.2"])
                    return ret
            anon_vma.lock.unlock(TU["2.2"])
            rmap_item = await hlist_next(g, stable_node, rmap_item, TU["2"])
    return ret


async def rmap_walk_ksm(g: Globals, page: Page, action: RmapAction) -> int:
    """RW: call `action` at every place that the node's items lead to; page locked.

    Kernel: mm/ksm.c, rmap_walk_ksm(), v2.6.33.

    Steps of RW:
        1. Read the node; none: done, nothing is visited.
        2. For each item, in pass 0 for the item's own mm and in pass 1 for those that forked from
           it: LOCK its anon_vma; action where its address is covered; UNLOCK.
    """
    stable_node = await page_stable_node(page, RW["1"])
    if stable_node is None:
        return SWAP_AGAIN
    ret = SWAP_AGAIN
    for forks in (False, True):
        rmap_item = await hlist_next(g, stable_node, None, RW["2"])
        while rmap_item is not None:
            anon_vma, address = await _lock_item_anon_vma(rmap_item, RW["2.1"])
            for vma in _vmas_of_pass(anon_vma, rmap_item, address, forks=forks):
                ret = await action(page, vma, address)
                if ret != SWAP_AGAIN:
                    break
            anon_vma.lock.unlock(RW["2.1"])
            if ret != SWAP_AGAIN:
                return ret
            rmap_item = await hlist_next(g, stable_node, rmap_item, RW["2"])
    return ret


async def ksm_migrate_page(g: Globals, new: Page, old: Page) -> None:
    """KM: let the node follow its page; both pages locked, both carry its key.

    Kernel: mm/ksm.c, ksm_migrate_page(), v2.6.33; specification KM.1-3.
    """
    word = await new.mapping.read(KM["1"])
    if old.mapping.read_in_step(KM["1"]) is not word:
        raise VmBug(KM["1"], "VM_BUG_ON(newpage->mapping != oldpage->mapping)")
    stable_node = page_stable_node_of(word)
    if stable_node is None or not g.kernel.migrate_updates_kpfn:
        return
    if await stable_node_page(g, stable_node, KM["2"]) is not old:
        raise VmBug(KM["2"], "VM_BUG_ON(stable_node->kpfn != page_to_pfn(oldpage))")
    await stable_node.kpfn.write(KM["3"], kpfn_of(g, new))
