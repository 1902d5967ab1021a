# SPDX-License-Identifier: GPL-2.0-or-later
"""KSM's trees: the keyhole reference, searches, insertion, pruning.

Kernel: mm/ksm.c, v2.6.33; specification GK RN RI HA DA SS SI SA UI. Everything here runs with
ksm_thread_mutex held. Tests: `tests/unit/test_ksm_tree.py`.
"""

from __future__ import annotations

from ksmtrio.errors import KernelBug, NullDereference
from ksmtrio.locking.rcu import rcu_read_lock, rcu_read_unlock
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_types import (
    PAGE_MASK,
    SEQNR_MASK,
    STABLE_FLAG,
    UNSTABLE_FLAG,
    RmapItem,
    StableNode,
)
from ksmtrio.mm.mm_types import KSM_NULL, AnonVma, MmStruct, Page, page_stable_node
from ksmtrio.mm.page_flags import PG_SWAPCACHE
from ksmtrio.mm.swap import get_page, put_page
from ksmtrio.sched.cell import adjust
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

GK = Points(__name__, "get_ksm_page", "GK", "1 2 3 3/page_swapcache 3/cpu_relax 4 4/put_page")
GK_AGAIN = Points(__name__, "get_ksm_page", "", "6")
RN = Points(__name__, "remove_node_from_stable_tree", "RN", "1 1.1 1.1#2 1.3 1.4 2 3")
RI = Points(__name__, "remove_rmap_item_from_tree", "RI", "1 3 4 5 6/put_page 7 7#2 8 8#2 8#3 9")
FORK = Points(
    __name__,
    "remove_rmap_item_from_tree",
    "",
    "fork.1 fork.2 fork.2#2 fork.2#3 fork.2#4 fork.2#5 fork.3 fork.3#2 fork.3#3 fork.3#4",
)
HA = Points(__name__, "hold_anon_vma", "HA", "2")
DA = Points(__name__, "drop_anon_vma", "DA", "1 1#2 1#3 2 4")
SS = Points(__name__, "stable_tree_search", "SS", "1 1/get_page 2.1 2.3 2.4 2.4/put_page")
SI = Points(__name__, "stable_tree_insert", "SI", "1.1 1.3 1.4/put_page 1.5 2 3 4 5 6")
SA = Points(__name__, "stable_tree_append", "SA", "3 4")


async def memcmp_pages(a: Page, b: Page, at: str) -> int:
    """memcmp_pages(): compare content, half a page at a time, without any lock.

    Returns:
        Negative, 0 or positive, as memcmp().
    """
    for half in (0, 1):
        left = await a.content[half].read(at)
        right = await b.content[half].read(at)
        if left != right:
            return -1 if left < right else 1
    return 0


async def stable_node_page(g: Globals, stable_node: StableNode, at: str) -> Page:
    """Return the page that a node names: by frame number or, before the patch, by pointer."""
    ref = await stable_node.kpfn.read(at)
    return ref if isinstance(ref, Page) else g.pfn_to_page(ref)


def kpfn_of(g: Globals, page: Page) -> int | Page:
    """Return what a node stores to name a page."""
    return page.pfn if g.kernel.stable_node_by_pfn else page


async def get_ksm_page(g: Globals, stable_node: StableNode) -> Page | None:
    """Take a reference on the page a stable node stands for, or prune the node.

    Kernel: mm/ksm.c, get_ksm_page(), v2.6.33; specification GK.1-6.
    Context: ksm_thread_mutex held; takes no page lock; enters RCU. Races with migration between its
    count look (MM.2) and the clearing of the old page's word (MC.7), and with whoever freezes the
    count of a page in the swap cache (MM.5, RX.2), unless `get_ksm_page_waits_while_frozen`.

    Returns:
        The page, referenced and not locked, or None when the node was stale (and is gone).
    """
    key = stable_node.word
    rcu_read_lock(g.rt)
    while True:
        page = await stable_node_page(g, stable_node, GK["1"])
        if await page.mapping.read(GK["2"]) is key and await _get_page_unless_frozen(g, page):
            if await page.mapping.read(GK["4"]) is key:
                rcu_read_unlock(g.rt)
                return page
            await put_page(g, page, GK["4/put_page"])
        if not g.kernel.get_ksm_page_waits_while_frozen:
            break
        if await stable_node_page(g, stable_node, GK_AGAIN["6"]) is page:
            break
    rcu_read_unlock(g.rt)
    await remove_node_from_stable_tree(g, stable_node)
    return None


async def _get_page_unless_frozen(g: Globals, page: Page) -> bool:
    """GK.3: take a reference unless the count is 0.

    0 means free or frozen; v2.6.33 takes both for free, later kernels wait for a page that still
    is in the swap cache.
    """
    while not await page.count.inc_not_zero(GK["3"]):
        if not g.kernel.get_ksm_page_waits_while_frozen:
            return False
        if not await page.flags.test(GK["3/page_swapcache"], PG_SWAPCACHE):
            return False
        await g.rt.cpu_relax(GK["3/cpu_relax"])
    return True


async def hlist_next(
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


async def remove_node_from_stable_tree(g: Globals, stable_node: StableNode) -> None:
    """RN: prune a node whose page is gone, or went offline; its items become volatile.

    Kernel: mm/ksm.c, remove_node_from_stable_tree(), v2.6.33; specification RN.1-3. Takes no page
    lock: it assumes that no live page leads here any more.
    """
    ksm = g.ksm
    rmap_item = await hlist_next(g, stable_node, None, RN["1"])
    while rmap_item is not None:
        await g.rt.point(RN["1.1"], "read", stable_node.kpfn)
        last = stable_node.hlist[-1:] == (rmap_item,)
        counter = ksm.ksm_pages_shared if last else ksm.ksm_pages_sharing
        await adjust(counter, RN["1.1#2"], -1)
        await drop_anon_vma(g, rmap_item)
        await g.rt.point(RN["1.3"], "write", None)
        rmap_item.address &= PAGE_MASK
        await g.rt.cond_resched(RN["1.4"])
        rmap_item = await hlist_next(g, stable_node, rmap_item, RN["1"])
    await g.rt.point(RN["2"], "rb_erase", stable_node.kpfn)
    if stable_node not in ksm.stable_root:
        raise KernelBug(RN["2"], f"rb_erase of {stable_node.name}, which is not in the tree")
    ksm.stable_root.remove(stable_node)
    await g.rt.point(RN["3"], "kmem_cache_free", None)
    stable_node.die("freed", RN["3"])


async def remove_rmap_item_from_tree(g: Globals, rmap_item: RmapItem) -> None:
    """RI: take an item out of whichever tree it is in.

    Kernel: mm/ksm.c, remove_rmap_item_from_tree(), v2.6.33; specification RI.1-9. Context: may
    sleep on the KSM page's lock, which is what keeps rmap walkers off the list.
    """
    ksm = g.ksm
    if rmap_item.address & STABLE_FLAG:
        await g.rt.point(RI["1"], "read", None)
        stable_node = rmap_item.head
        if stable_node is None:
            raise NullDereference(RI["1"], "stable rmap_item without head")
        page = await get_ksm_page(g, stable_node)
        if page is not None:
            await page.page_lock.lock(RI["3"])
            if g.kernel.proposed_items_follow_mappings:
                await _pass_to_fork(g, rmap_item, stable_node, page)
            await g.rt.point(RI["4"], "hlist_del", stable_node.kpfn)
            stable_node.hlist = tuple(r for r in stable_node.hlist if r is not rmap_item)
            await page.page_lock.unlock(RI["5"])
            await put_page(g, page, RI["6/put_page"])
            await g.rt.point(RI["7"], "hlist_empty", stable_node.kpfn)
            left = bool(stable_node.hlist)
            await adjust(ksm.ksm_pages_sharing if left else ksm.ksm_pages_shared, RI["7#2"], -1)
            await drop_anon_vma(g, rmap_item)
            await g.rt.point(RI["8"], "write", None)
            rmap_item.address &= PAGE_MASK
    elif rmap_item.address & UNSTABLE_FLAG:
        age = (await ksm.cursor.seqnr.read(RI["8#2"]) - rmap_item.address) & SEQNR_MASK
        if age > 1:
            raise KernelBug(RI["8#2"], f"BUG_ON(age > 1) in remove_rmap_item_from_tree: {age}")
        if age == 0:
            if rmap_item not in ksm.unstable_root:
                # Rebalancing climbs to the top of a tree whose root nobody knows any more, and does
                # not stop there. Differs: it always does here, there for some shapes of the tree.
                raise NullDereference(
                    RI["8#2"], f"rb_erase of {rmap_item.name} from a tree that was forgotten"
                )
            ksm.unstable_root.remove(rmap_item)
        await adjust(ksm.ksm_pages_unshared, RI["8#3"], -1)
        rmap_item.address &= PAGE_MASK
    await g.rt.cond_resched(RI["9"])


async def _pass_to_fork(
    g: Globals, rmap_item: RmapItem, stable_node: StableNode, page: Page
) -> None:
    """Ours, no kernel has it: an item that goes leaves one behind for a fork that it served.

    Context: the KSM page is locked. Without this the fork's pte cannot be found until ksmd has
    come by there. Steps: 1 does another item lead to the same ptes; 2 is there such a pte; 3 an
    item for its mm, which is linked where ksmd will expect it; 4 hang that on the node.
    """
    anon_vma, address = rmap_item.anon_vma, rmap_item.address & PAGE_MASK
    await g.rt.point(FORK["fork.1"], "hlist_for_each", stable_node.kpfn)
    if anon_vma is None or any(
        other is not rmap_item
        and other.anon_vma is anon_vma
        and other.address & PAGE_MASK == address
        for other in stable_node.hlist
    ):
        return
    mm = await _fork_that_maps(anon_vma, rmap_item.mm, page, address)
    heir = None if mm is None else await _item_for(g, mm, address)
    if heir is not None and not heir.address & STABLE_FLAG:
        await hold_anon_vma(heir, anon_vma)
        await stable_tree_append(g, heir, stable_node)


async def _fork_that_maps(
    anon_vma: AnonVma, parent: MmStruct, page: Page, address: Vaddr
) -> MmStruct | None:
    """Step 2: another mm of the anon_vma whose pte at the address leads to the locked page."""
    flags = await page.flags.read(FORK["fork.2"])
    slot = await page.private.read(FORK["fork.2#2"]) if flags & PG_SWAPCACHE else None
    await anon_vma.lock.lock(FORK["fork.2#3"])
    found: MmStruct | None = None
    for vma in anon_vma.head:
        mm = vma.vm_mm
        if found is not None or mm is parent or not vma.vm_start <= address < vma.vm_end:
            continue
        ptl = mm.ptl(address)
        await ptl.lock(FORK["fork.2#4"])
        pte = await mm.pte(address).read(FORK["fork.2#5"])
        ptl.unlock(FORK["fork.2#5"])
        if pte.pfn == (slot if pte.swap else page.pfn) and not pte.none:
            found = mm
    anon_vma.lock.unlock(FORK["fork.2#3"])
    return found


async def _item_for(g: Globals, mm: MmStruct, address: Vaddr) -> RmapItem | None:
    """Step 3: the item for an address of a registered mm, in no tree unless it is stable."""
    ksm = g.ksm
    await ksm.ksm_mmlist_lock.lock(FORK["fork.3"])
    slot = next((s for s in ksm.mm_list if s.mm is mm), None)
    if slot is None or slot is ksm.cursor.mm_slot or g.rt.fault("enomem", FORK["fork.3"]):
        ksm.ksm_mmlist_lock.unlock(FORK["fork.3"])
        return None
    items = await slot.rmap_list.read(FORK["fork.3#2"])
    item = next((i for i in items if i.address & PAGE_MASK == address), None)
    fresh = item is None
    if item is None:
        item = RmapItem(g.rt, ksm, mm, address)
        before = tuple(i for i in items if i.address < address)
        await slot.rmap_list.write(FORK["fork.3#3"], (*before, item, *items[len(before) :]))
    ksm.ksm_mmlist_lock.unlock(FORK["fork.3#3"])
    if fresh:
        await adjust(ksm.ksm_rmap_items, FORK["fork.3#4"], +1)
    elif not item.address & STABLE_FLAG:
        await remove_rmap_item_from_tree(g, item)
    return item


async def hold_anon_vma(rmap_item: RmapItem, anon_vma: AnonVma | None) -> None:
    """HA: pin the anon_vma of a vma into which a page was merged; mmap_sem held."""
    rmap_item.anon_vma = anon_vma
    if anon_vma is None:
        raise NullDereference(HA["2"], "hold_anon_vma of a vma without anon_vma")
    await anon_vma.ksm_refcount.inc(HA["2"])


async def drop_anon_vma(g: Globals, rmap_item: RmapItem) -> None:
    """DA: drop the hold; the last one with an empty vma list frees the anon_vma.

    Kernel: mm/ksm.c, drop_anon_vma(), v2.6.33: atomic_dec_and_lock().
    """
    anon_vma = rmap_item.anon_vma
    if anon_vma is None:
        raise NullDereference(DA["1"], "drop_anon_vma of an item without anon_vma")
    if await anon_vma.ksm_refcount.add_unless(DA["1"], -1, 1):
        return
    await anon_vma.lock.lock(DA["1#2"])
    if not await anon_vma.ksm_refcount.dec_and_test(DA["1#3"]):
        anon_vma.lock.unlock(DA["1#3"])
        return
    await g.rt.point(DA["2"], "list_empty", anon_vma.lock)
    empty = not anon_vma.head
    anon_vma.lock.unlock(DA["2"])
    if empty:
        await g.rt.point(DA["4"], "kmem_cache_free", anon_vma.lock)
        anon_vma.die("freed", DA["4"])


async def stable_tree_search(g: Globals, page: Page) -> tuple[Page, StableNode | None] | None:
    """SS: look for a KSM page with the content of `page`.

    Kernel: mm/ksm.c, stable_tree_search(), v2.6.33; specification SS.1-3.

    Returns:
        (KSM page with a reference, its node), or None; None also when a stale node was met.
    """
    stable_node = await page_stable_node(page, SS["1"])
    if stable_node is not None:
        await get_page(page, SS["1/get_page"])
        return page, stable_node
    tree = g.ksm.stable_root
    low, high = 0, len(tree)
    while low < high:
        middle = (low + high) // 2
        stable_node = tree[middle]
        await g.rt.cond_resched(SS["2.1"])
        tree_page = await get_ksm_page(g, stable_node)
        if tree_page is None:
            return None
        order = await memcmp_pages(page, tree_page, SS["2.3"])
        if order == 0:
            return tree_page, stable_node
        await put_page(g, tree_page, SS["2.4/put_page"])
        low, high = await _descend(g, stable_node, SS["2.4"], order, low, middle, high)
    return None


async def _descend(
    g: Globals, stable_node: StableNode, at: str, order: int, low: int, middle: int, high: int
) -> tuple[int, int]:
    """Follow a node's left or right link: the part of the tree still to be searched.

    Reads the node, which a walker that is not alone in the tree may find freed.
    """
    await g.rt.point(at, "rb_next", stable_node.kpfn)
    low, high = (low, middle) if order < 0 else (middle + 1, high)
    return low, min(high, len(g.ksm.stable_root))


async def stable_tree_insert(g: Globals, kpage: Page) -> StableNode | None:
    """SI: make a node for a freshly upgraded page; the page is locked and referenced.

    Kernel: mm/ksm.c, stable_tree_insert(), v2.6.33; specification SI.1-7.

    Returns:
        The node, or None when an equal page is there already, or a stale node was met.
    """
    tree = g.ksm.stable_root
    low, high = 0, len(tree)
    while low < high:
        middle = (low + high) // 2
        passed = tree[middle]
        await g.rt.cond_resched(SI["1.1"])
        tree_page = await get_ksm_page(g, passed)
        if tree_page is None:
            return None
        order = await memcmp_pages(kpage, tree_page, SI["1.3"])
        await put_page(g, tree_page, SI["1.4/put_page"])
        if order == 0:
            return None
        low, high = await _descend(g, passed, SI["1.5"], order, low, middle, high)
    g.rt.might_sleep(SI["2"])
    await g.rt.point(SI["2"], "kmem_cache_alloc", None)
    if g.rt.fault("enomem", SI["2"]):
        return None
    stable_node = StableNode(g.rt, g.ksm, g.watchers)
    await g.rt.point(SI["3"], "rb_insert", None)
    g.ksm.stable_root.insert(low, stable_node)
    # Until the next two steps a walker of the tree finds a node that names no page.
    await g.rt.point(SI["4"], "INIT_HLIST_HEAD", stable_node.kpfn)
    await stable_node.kpfn.write(SI["5"], kpfn_of(g, kpage))
    await kpage.mapping.write(SI["6"], stable_node.word)
    return stable_node


async def stable_tree_append(
    g: Globals, rmap_item: RmapItem, stable_node: StableNode | None
) -> None:
    """SA: hang an item on a node; the KSM page is locked.

    Kernel: mm/ksm.c, stable_tree_append(), v2.6.33; specification SA.1-4.
    """
    if stable_node is None:
        raise NullDereference(SA["3"], "stable_tree_append to a NULL stable_node")
    rmap_item.head = stable_node
    rmap_item.address |= STABLE_FLAG
    await g.rt.point(SA["3"], "hlist_add_head", stable_node.kpfn)
    first = not stable_node.hlist
    stable_node.hlist = (rmap_item, *stable_node.hlist)
    counter = g.ksm.ksm_pages_shared if first else g.ksm.ksm_pages_sharing
    await adjust(counter, SA["4"], +1)


async def unstable_tree_insert(g: Globals, rmap_item: RmapItem, position: int, at: str) -> None:
    """UI.2: link an item into the unstable tree at the position that the search ended at."""
    ksm = g.ksm
    rmap_item.address |= UNSTABLE_FLAG | (await ksm.cursor.seqnr.read(at) & SEQNR_MASK)
    ksm.unstable_root.insert(position, rmap_item)
    await adjust(ksm.ksm_pages_unshared, f"{at}#2", +1)


async def set_page_stable_node_null(page: Page, at: str) -> None:
    """set_page_stable_node(page, NULL): upgrade an anonymous page to KSM; page locked."""
    await page.mapping.write(at, KSM_NULL)
