# SPDX-License-Identifier: GPL-2.0-or-later
"""Reverse maps of KSM pages, and moving a KSM page's node along with it.

Kernel: mm/ksm.c, v2.6.33; specification TU RW KM. Also the dispatch of mm/rmap.c between ordinary
and KSM pages, which needs both kinds. The lock of the page at kpfn is held throughout: it is what
keeps the list of items still. Tests: `tests/unit/test_ksm_rmap.py`.
"""

from __future__ import annotations

from ksmtrio.errors import KernelBug, VmBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_tree import kpfn_of, stable_node_page
from ksmtrio.mm.ksm_types import PAGE_MASK, RmapItem, StableNode
from ksmtrio.mm.mm_types import (
    AnonVma,
    Page,
    Vma,
    page_ksm,
    page_mapped,
    page_stable_node,
    page_stable_node_of,
)
from ksmtrio.mm.rmap import (
    SWAP_AGAIN,
    SWAP_FAIL,
    SWAP_SUCCESS,
    RmapAction,
    rmap_walk_anon,
    try_to_unmap_anon,
    try_to_unmap_one,
)
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

TU = Points(__name__, "try_to_unmap_ksm", "TU", "1 2 2.1 2.2")
RW = Points(__name__, "rmap_walk_ksm", "RW", "1 2 2.1")
KM = Points(__name__, "ksm_migrate_page", "KM", "1 2 3")
UNMAP = Points(__name__, "try_to_unmap", "", "1 2")
WALK = Points(__name__, "rmap_walk", "", "1")


async def try_to_unmap(g: Globals, page: Page) -> int:
    """try_to_unmap(): turn every pte of a locked page into a migration entry, as far as found."""
    if await page_ksm(page, UNMAP["1"]):
        ret = await try_to_unmap_ksm(g, page)
    else:
        ret = await try_to_unmap_anon(g, page)
    return ret if await page_mapped(page, UNMAP["2"]) else SWAP_SUCCESS


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


async def _next_item(
    g: Globals, stable_node: StableNode, after: RmapItem | None, at: str
) -> RmapItem | None:
    """Follow the hlist by one link, from its head or from an item; None at the end.

    An item that was unlinked under the walker leads to a poisoned pointer.
    """
    await g.rt.point(at, "hlist_for_each", stable_node.kpfn)
    items = stable_node.hlist
    if after is None:
        return items[0] if items else None
    if after not in items:
        raise KernelBug(at, f"general protection fault: {after.name} was unlinked under the walk")
    following = items.index(after) + 1
    return items[following] if following < len(items) else None


async def try_to_unmap_ksm(g: Globals, page: Page) -> int:
    """TU: replace the ptes that the node's items lead to; page locked.

    Kernel: mm/ksm.c, try_to_unmap_ksm(), v2.6.33; specification TU.1-3. Pass 0 visits the items'
    own mms, pass 1 those that forked from them.
    """
    stable_node = await page_stable_node(page, TU["1"])
    if stable_node is None:
        return SWAP_FAIL
    ret = SWAP_AGAIN
    for forks in (False, True):
        rmap_item = await _next_item(g, stable_node, None, TU["2"])
        while rmap_item is not None:
            anon_vma, address = await _lock_item_anon_vma(rmap_item, TU["2.1"])
            for vma in _vmas_of_pass(anon_vma, rmap_item, address, forks=forks):
                ret = await try_to_unmap_one(g, page, vma, address)
                if ret != SWAP_AGAIN or not await page_mapped(page, TU["2.2"]):
                    anon_vma.lock.unlock(TU["2.2"])
                    return ret
            anon_vma.lock.unlock(TU["2.2"])
            rmap_item = await _next_item(g, stable_node, rmap_item, TU["2"])
    return ret


async def rmap_walk_ksm(g: Globals, page: Page, action: RmapAction) -> int:
    """RW: call `action` at every place that the node's items lead to; page locked.

    Kernel: mm/ksm.c, rmap_walk_ksm(), v2.6.33.
    """
    stable_node = await page_stable_node(page, RW["1"])
    if stable_node is None:
        return SWAP_AGAIN
    ret = SWAP_AGAIN
    for forks in (False, True):
        rmap_item = await _next_item(g, stable_node, None, RW["2"])
        while rmap_item is not None:
            anon_vma, address = await _lock_item_anon_vma(rmap_item, RW["2.1"])
            for vma in _vmas_of_pass(anon_vma, rmap_item, address, forks=forks):
                ret = await action(page, vma, address)
                if ret != SWAP_AGAIN:
                    break
            anon_vma.lock.unlock(RW["2.1"])
            if ret != SWAP_AGAIN:
                return ret
            rmap_item = await _next_item(g, stable_node, rmap_item, RW["2"])
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
