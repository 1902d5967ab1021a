# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmd: the scan, from the thread's loop to the decision what to merge.

Kernel: mm/ksm.c, v2.6.33; specification KT DS SG GR RT CM UI GM. Everything below ksm_do_scan runs
with ksm_thread_mutex held. Tests: `tests/unit/test_ksm_scan.py`.
"""

from __future__ import annotations

from ksmtrio.errors import NullDereference
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_hotplug import wait_while_offlining
from ksmtrio.mm.ksm_merge import (
    break_cow,
    mergeable_vma,
    try_to_merge_two_pages,
    try_to_merge_with_ksm_page,
)
from ksmtrio.mm.ksm_tree import (
    memcmp_pages,
    remove_rmap_item_from_tree,
    stable_node_page,
    stable_tree_append,
    stable_tree_insert,
    stable_tree_search,
    unstable_tree_insert,
)
from ksmtrio.mm.ksm_types import KSM_RUN_MERGE, PAGE_MASK, STABLE_FLAG, MmSlot, RmapItem, StableNode
from ksmtrio.mm.memory import follow_page
from ksmtrio.mm.mm_types import (
    MMF_VM_MERGEABLE,
    VM_MERGEABLE,
    MmStruct,
    Page,
    page_anon,
    page_ksm,
    page_stable_node,
)
from ksmtrio.mm.mmap import mmdrop
from ksmtrio.mm.swap import lru_add_drain_all, put_page
from ksmtrio.sched.cell import adjust
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SIZE, Vaddr

KT = Points(__name__, "ksm_scan_thread", "KT", "1 2 3 3#2 4 5 6 6#2 7 7#2")
DS = Points(__name__, "ksm_do_scan", "DS", "1 3 5/put_page")
SG = Points(
    __name__,
    "scan_get_next_rmap_item",
    "SG",
    "1 4 6 7 8.3 8.4.1 8.4.3 8.4.3#2 "
    "8.4.3/put_page 8.4.4 8.4.4/put_page 9 11 12 "
    "12#2 12#3 12/free_mm_slot 14",
)
SG_DRAIN = Points(
    __name__,
    "scan_get_next_rmap_item",
    "",
    "3 3/pagevec_lru_add 3/pagevec_lru_add#2 3/release_pages",
)
KEEP = Points(__name__, "scan_get_next_rmap_item", "", "absent")
GR = Points(__name__, "get_next_rmap_item", "GR", "1 1.3 1.3#2 2 2#2 3")
RT = Points(__name__, "remove_trailing_rmap_items", "RT", "1 2 3")
CM = Points(__name__, "cmp_and_merge_page", "CM", "2 6 6#2 6#3 7/put_page 8 8#2 12/put_page 15 17")
UI = Points(
    __name__,
    "unstable_tree_search_insert",
    "UI",
    "1.1 1.3/put_page 1.4 1.4/put_page 2 2#2",
)
GM = Points(__name__, "get_mergeable_page", "GM", "1 2 3 5 5/put_page 6")


async def ksmd_should_run(g: Globals, at: str) -> bool:
    """ksmd_should_run(): the MERGE bit is set and somebody is registered; two racy looks."""
    if not await g.ksm.ksm_run.read(at) & KSM_RUN_MERGE:
        return False
    return not await g.ksm.list_empty.read(f"{at}#2")


async def ksm_scan_thread(g: Globals, *, batches: int) -> None:
    """KT: ksmd's main loop, for a number of batches; none without CONFIG_KSM.

    Kernel: mm/ksm.c, ksm_scan_thread(), v2.6.33. Differs: the scenario bounds the batches.
    """
    if not g.kernel.CONFIG_KSM:
        return
    ksm = g.ksm
    for _ in range(batches):
        await g.rt.cond_resched(KT["1"])
        await ksm.ksm_thread_mutex.lock(KT["2"])
        if g.kernel.offline_sets_run_bit:
            await wait_while_offlining(g)
        if await ksmd_should_run(g, KT["3"]):
            await ksm_do_scan(g, await ksm.ksm_thread_pages_to_scan.read(KT["4"]))
        await ksm.ksm_thread_mutex.unlock(KT["5"])
        if await ksmd_should_run(g, KT["6"]):
            # How long is no matter here: any sleep may end at any later point.
            await ksm.ksm_thread_sleep_millisecs.read(KT["7"])
            await g.rt.sleep(KT["7#2"])
        else:
            await ksm.ksm_thread_wait.wait_event(
                KT["7"],
                lambda: bool(ksm.ksm_run.value & KSM_RUN_MERGE) and not ksm.list_empty.value,
                idle=True,
            )


async def ksm_do_scan(g: Globals, scan_npages: int) -> None:
    """DS: scan up to `scan_npages` pages. Kernel: mm/ksm.c, ksm_do_scan(), v2.6.33."""
    for _ in range(scan_npages):
        await g.rt.cond_resched(DS["1"])
        found = await scan_get_next_rmap_item(g)
        if found is None:
            return
        rmap_item, page = found
        if not await _merged_already(g, page, rmap_item):
            await cmp_and_merge_page(g, page, rmap_item)
        await put_page(g, page, DS["5/put_page"])


async def _merged_already(g: Globals, page: Page, rmap_item: RmapItem) -> bool:
    """DS.3: is there nothing to do? The item's node is not compared in v2.6.33."""
    if not g.kernel.scan_compares_nodes:
        return await page_ksm(page, DS["3"]) and bool(rmap_item.address & STABLE_FLAG)
    node = await page_stable_node(page, DS["3"])
    stable = bool(rmap_item.address & STABLE_FLAG)
    return stable and node is not None and rmap_item.head is node


async def scan_get_next_rmap_item(g: Globals) -> tuple[RmapItem, Page] | None:
    """SG: advance the cursor to the next mapped anonymous page.

    Kernel: mm/ksm.c, scan_get_next_rmap_item(), v2.6.33; specification SG.1-14.

    Returns:
        (rmap_item, page with a reference), or None at the end of a full scan.
    """
    ksm, cursor = g.ksm, g.ksm.cursor
    if await ksm.list_empty.read(SG["1"]):
        return None
    slot = cursor.mm_slot
    if slot is ksm.head:
        if g.kernel.scan_drains_pagevecs:
            await lru_add_drain_all(g, SG_DRAIN["3"])
        if not g.kernel.proposed_unstable_tree_lasts_as_long_as_seqnr:
            # An unmerging that failed leaves the cursor here in the middle of a scan. Then items
            # of this very seqnr are in the tree that is forgotten now.
            ksm.unstable_root = []
        await ksm.ksm_mmlist_lock.lock(SG["4"])
        slot = ksm.mm_list[0] if ksm.mm_list else ksm.head
        cursor.mm_slot = slot
        ksm.ksm_mmlist_lock.unlock(SG["4"])
        cursor.address, cursor.rmap_list = 0, 0
        if slot is ksm.head and g.kernel.scan_rechecks_mm_list:
            return None
    while True:
        if slot.mm is None:
            # The only slot was unlinked by __ksm_exit between SG.1 and SG.4.
            raise NullDereference(SG["6"], "mmap_sem of the slot list's head")
        mm = slot.mm
        await mm.mmap_sem.down_read(SG["6"])
        found = await _scan_mm(g, slot, mm)
        if found is not None:
            rmap_item, page = found
            await mm.mmap_sem.up_read(SG["8.4.3#2"])
            return None if rmap_item is None else (rmap_item, page)
        slot = await _next_slot(g, slot, mm)
        if slot is ksm.head:
            await adjust(cursor.seqnr, SG["14"], +1)
            if g.kernel.proposed_unstable_tree_lasts_as_long_as_seqnr:
                ksm.unstable_root = []
            return None
        cursor.address, cursor.rmap_list = 0, 0


async def ksm_test_exit(mm: MmStruct, at: str) -> bool:
    """ksm_test_exit(): is the address space being torn down? A lockless look."""
    return await mm.mm_users.read(at) == 0


async def _scan_mm(g: Globals, slot: MmSlot, mm: MmStruct) -> tuple[RmapItem | None, Page] | None:
    """SG.7-8: the next page of one mm at or after the cursor; mmap_sem held for read.

    Returns:
        (item, page); (None, page put already) when no item could be allocated; None at the end.
    """
    cursor = g.ksm.cursor
    if await ksm_test_exit(mm, SG["7"]):
        return None
    for vma in mm.vmas:
        if vma.vm_end <= cursor.address or not vma.vm_flags & VM_MERGEABLE:
            continue
        cursor.address = max(cursor.address, vma.vm_start)
        if await vma.anon_vma.read(SG["8.3"]) is None:
            cursor.address = vma.vm_end
        while cursor.address < vma.vm_end:
            if await ksm_test_exit(mm, SG["8.4.1"]):
                break
            page = await follow_page(g, vma, cursor.address)
            if page is not None and await page_anon(page, SG["8.4.3"]):
                rmap_item = await get_next_rmap_item(g, slot, mm, cursor.address)
                if rmap_item is None:
                    await put_page(g, page, SG["8.4.3/put_page"])
                else:
                    cursor.rmap_list += 1
                    cursor.address += PAGE_SIZE
                return rmap_item, page
            if page is not None:
                await put_page(g, page, SG["8.4.4/put_page"])
            elif g.kernel.proposed_items_follow_mappings:
                await _keep_item_of_absent_page(g, slot, mm, cursor.address)
            cursor.address += PAGE_SIZE
            await g.rt.cond_resched(SG["8.4.4"])
    return None


async def _next_slot(g: Globals, slot: MmSlot, mm: MmStruct) -> MmSlot:
    """SG.9-13: leave one mm, forgetting it when it exits or has nothing mergeable left."""
    ksm, cursor = g.ksm, g.ksm.cursor
    if await ksm_test_exit(mm, SG["9"]):
        cursor.address, cursor.rmap_list = 0, 0
    await remove_trailing_rmap_items(g, slot, cursor.rmap_list)
    await ksm.ksm_mmlist_lock.lock(SG["11"])
    position = ksm.mm_list.index(slot)
    following = ksm.mm_list[position + 1] if position + 1 < len(ksm.mm_list) else ksm.head
    cursor.mm_slot = following
    gone = cursor.address == 0
    if gone:
        ksm.mm_list = tuple(s for s in ksm.mm_list if s is not slot)
        ksm.list_empty.write_in_step(SG["11"], not ksm.mm_list)
    if not gone and g.kernel.scan_drops_mmap_sem_first:
        # Once the lock is dropped, __ksm_exit may free the slot, and mmput then the mm.
        await mm.mmap_sem.up_read(SG["12#2"])
        ksm.ksm_mmlist_lock.unlock(SG["11"])
        return following
    ksm.ksm_mmlist_lock.unlock(SG["11"])
    if gone:
        await g.rt.point(SG["12/free_mm_slot"], "kmem_cache_free", None)
        slot.die("freed", SG["12/free_mm_slot"])
        await mm.flags.clear(SG["12"], MMF_VM_MERGEABLE)
        await mm.mmap_sem.up_read(SG["12#2"])
        await mmdrop(mm, SG["12#3"])
    else:
        await mm.mmap_sem.up_read(SG["12#2"])
    return following


async def _keep_item_of_absent_page(g: Globals, slot: MmSlot, mm: MmStruct, address: Vaddr) -> None:
    """Ours, no kernel has it: pass over the stable item of a page that is in swap or on the move.

    v2.6.33 drops it with the next item behind it, and then nothing leads to the page where it comes
    back as a KSM page.
    """
    if (await mm.pte(address).read(KEEP["absent"])).none:
        return
    item = await _item_at(g, slot, address)
    if item is not None and item.address & STABLE_FLAG:
        g.ksm.cursor.rmap_list += 1


async def get_next_rmap_item(
    g: Globals, slot: MmSlot, mm: MmStruct, address: Vaddr
) -> RmapItem | None:
    """GR: the item for an address, dropping stale ones before it.

    Kernel: mm/ksm.c, get_next_rmap_item(), v2.6.33; specification GR.1-3. mmap_sem held for read.

    Returns:
        The item, or None when memory is short.
    """
    item = await _item_at(g, slot, address)
    if item is not None:
        return item
    link, items = g.ksm.cursor.rmap_list, slot.rmap_list.read_in_step(GR["1"])
    g.rt.might_sleep(GR["2"])
    await g.rt.point(GR["2"], "kmem_cache_alloc", None)
    if g.rt.fault("enomem", GR["2"]):
        return None
    await adjust(g.ksm.ksm_rmap_items, GR["2#2"], +1)
    fresh = RmapItem(g.rt, g.ksm, mm, address)
    await slot.rmap_list.write(GR["3"], (*items[:link], fresh, *items[link:]))
    return fresh


async def _item_at(g: Globals, slot: MmSlot, address: Vaddr) -> RmapItem | None:
    """GR.1: the item for an address if it is the next one, those of smaller addresses dropped."""
    link = g.ksm.cursor.rmap_list
    while True:
        items = await slot.rmap_list.read(GR["1"])
        if link >= len(items):
            return None
        item = items[link]
        if item.address & PAGE_MASK == address:
            return item
        if item.address > address:
            return None
        await slot.rmap_list.write(GR["1.3"], (*items[:link], *items[link + 1 :]))
        await remove_rmap_item_from_tree(g, item)
        await adjust(g.ksm.ksm_rmap_items, GR["1.3#2"], -1)
        item.die("freed", GR["1.3#2"])


async def remove_trailing_rmap_items(g: Globals, slot: MmSlot, link: int) -> None:
    """RT: drop every item of a slot from `link` on.

    Kernel: mm/ksm.c, remove_trailing_rmap_items(), v2.6.33. Context: ksm_thread_mutex held.

    Steps of RT:
        1. Read the link; no item there: done.
        2. Unlink the item; RI.
        3. ksm_rmap_items-1; free the item; go to 1.
    """
    while True:
        items = await slot.rmap_list.read(RT["1"])
        if link >= len(items):
            return
        item = items[link]
        await slot.rmap_list.write(RT["2"], (*items[:link], *items[link + 1 :]))
        await remove_rmap_item_from_tree(g, item)
        await adjust(g.ksm.ksm_rmap_items, RT["3"], -1)
        item.die("freed", RT["3"])


async def cmp_and_merge_page(g: Globals, page: Page, rmap_item: RmapItem) -> None:
    """CM: try to merge one page, with the stable tree or with another candidate.

    Kernel: mm/ksm.c, cmp_and_merge_page(), v2.6.33; specification CM.1-18. Context:
    ksm_thread_mutex and a reference on the page held, neither mmap_sem nor the page lock.
    """
    await remove_rmap_item_from_tree(g, rmap_item)
    found = await stable_tree_search(g, page)
    if found is not None:
        kpage, stable_node = found
        if not g.kernel.search_returns_page and stable_node is not None:
            kpage = await stable_node_page(g, stable_node, CM["2"])
        if not await try_to_merge_with_ksm_page(g, rmap_item, page, kpage):
            await _append_to_node_of(g, kpage, rmap_item, stable_node)
        await put_page(g, kpage, CM["7/put_page"])
        return
    checksum = (await page.content[0].read(CM["8"]), await page.content[1].read(CM["8#2"]))
    if rmap_item.oldchecksum != checksum:
        rmap_item.oldchecksum = checksum
        return
    candidate = await unstable_tree_search_insert(g, rmap_item, page)
    if candidate is None:
        return
    tree_rmap_item, tree_page = candidate
    if g.kernel.proposed_insert_before_upgrade:
        await _merge_two_in_turn(g, rmap_item, page, tree_rmap_item, tree_page)
        await put_page(g, tree_page, CM["12/put_page"])
        return
    merged = await try_to_merge_two_pages(g, rmap_item, page, tree_rmap_item, tree_page)
    await put_page(g, tree_page, CM["12/put_page"])
    if merged is not None:
        await _insert_merged(g, merged, rmap_item, tree_rmap_item)


async def _merge_two_in_turn(
    g: Globals, rmap_item: RmapItem, page: Page, tree_rmap_item: RmapItem, tree_page: Page
) -> None:
    """Ours, no kernel has it: `page` becomes a KSM page with a node, then the other joins it.

    Where the second step fails there is nothing to undo: a KSM page with one item is complete.
    """
    if await try_to_merge_with_ksm_page(g, rmap_item, page, None):
        return
    await _append_to_node_of(g, page, rmap_item)
    if await try_to_merge_with_ksm_page(g, tree_rmap_item, tree_page, page):
        return
    await remove_rmap_item_from_tree(g, tree_rmap_item)
    await _append_to_node_of(g, page, tree_rmap_item)


async def _append_to_node_of(
    g: Globals, kpage: Page, rmap_item: RmapItem, found: StableNode | None = None
) -> None:
    """CM.6: hang an item on the node of a KSM page, read under the page's lock.

    Args:
        found: the node to which the search led, trusted where `search_returns_page` is off.
    """
    await kpage.page_lock.lock(CM["6"])
    stable_node = found
    if g.kernel.search_returns_page or found is None:
        stable_node = await page_stable_node(kpage, CM["6#2"])
    await stable_tree_append(g, rmap_item, stable_node)
    await kpage.page_lock.unlock(CM["6#3"])


async def _insert_merged(
    g: Globals, kpage: Page, rmap_item: RmapItem, tree_rmap_item: RmapItem
) -> None:
    """CM.14-18: give a freshly merged page its node, or undo the merge."""
    await remove_rmap_item_from_tree(g, tree_rmap_item)
    await kpage.page_lock.lock(CM["15"])
    stable_node = await stable_tree_insert(g, kpage)
    if stable_node is not None:
        await stable_tree_append(g, tree_rmap_item, stable_node)
        await stable_tree_append(g, rmap_item, stable_node)
        g.trace(CM["17"], "ksm:ksm_merge_two_pages", pfn=kpage.pfn, node=stable_node.name)
    await kpage.page_lock.unlock(CM["17"])
    if stable_node is None:
        await break_cow(g, tree_rmap_item)
        await break_cow(g, rmap_item)


async def unstable_tree_search_insert(
    g: Globals, rmap_item: RmapItem, page: Page
) -> tuple[RmapItem, Page] | None:
    """UI: find another candidate with equal content, or become one.

    Kernel: mm/ksm.c, unstable_tree_search_insert(), v2.6.33; specification UI.1-2.

    Returns:
        (other item, its page with a reference), or None.
    """
    low, high = 0, len(g.ksm.unstable_root)
    while low < high:
        middle = (low + high) // 2
        await g.rt.cond_resched(UI["1.1"])
        tree_rmap_item = g.ksm.unstable_root[middle]
        tree_page = await get_mergeable_page(g, tree_rmap_item)
        if tree_page is None:
            return None
        if tree_page is page:
            await put_page(g, tree_page, UI["1.3/put_page"])
            return None
        order = await memcmp_pages(page, tree_page, UI["1.4"])
        if order == 0:
            return tree_rmap_item, tree_page
        await put_page(g, tree_page, UI["1.4/put_page"])
        low, high = (low, middle) if order < 0 else (middle + 1, high)
    await unstable_tree_insert(g, rmap_item, low, UI["2"])
    return None


async def get_mergeable_page(g: Globals, rmap_item: RmapItem) -> Page | None:
    """GM: the page now mapped at an item's address, with a reference.

    Kernel: mm/ksm.c, get_mergeable_page(), v2.6.33; specification GM.1-6.
    """
    mm = rmap_item.mm
    address = rmap_item.address & PAGE_MASK
    await mm.mmap_sem.down_read(GM["1"])
    page: Page | None = None
    if not await ksm_test_exit(mm, GM["2"]):
        vma = await mergeable_vma(mm, address, GM["3"])
        if vma is not None:
            page = await follow_page(g, vma, address)
            if page is not None and not await page_anon(page, GM["5"]):
                await put_page(g, page, GM["5/put_page"])
                page = None
    await mm.mmap_sem.up_read(GM["6"])
    return page
