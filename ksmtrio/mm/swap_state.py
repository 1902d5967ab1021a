# SPDX-License-Identifier: GPL-2.0-or-later
"""The swap cache: entry -> page.

Kernel: mm/swap_state.c and find_get_page() of mm/filemap.c, v2.6.33; specification AS DX. Reading
pages in is in swap_state_read.py. Tests: `tests/unit/test_swap_state.py`.
"""

from __future__ import annotations

from errno import ENOMEM

from ksmtrio.errors import KernelBug, VmBug
from ksmtrio.locking.rcu import rcu_read_lock, rcu_read_unlock
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.page_flags import PG_DIRTY, PG_SWAPBACKED, PG_SWAPCACHE, PG_UPTODATE, PG_WRITEBACK
from ksmtrio.mm.swap import get_page, put_page
from ksmtrio.mm.swap_types import SwapEntry
from ksmtrio.mm.swapfile import get_swap_page, swapcache_free
from ksmtrio.sched.points import Points

AS = Points(
    __name__, "add_to_swap", "AS", "1 1/get_swap_page 2 3 4 5 5#2 5#3 5#4 5#5 5/swapcache_free 6"
)
DX = Points(
    __name__,
    "delete_from_swap_cache",
    "DX",
    "1 1/radix_tree_delete 1/radix_tree_delete#2 1/radix_tree_delete#3 2 2/swapcache_free 3",
)


async def lookup_swap_cache(g: Globals, entry: SwapEntry, at: str) -> Page | None:
    """lookup_swap_cache(): the cached page of a slot, with a reference; lockless.

    Kernel: find_get_page(), v2.6.33. Spins while the page's count is frozen at 0, which is never
    for long: whoever froze it holds tree_lock.

    Points: ``/find_get_page`` (slot), ``#2`` (count), ``#3`` (slot again).
    """
    at = f"{at}/find_get_page"
    slot = g.swapper_space.slot(entry)
    rcu_read_lock(g.rt)
    while True:
        page = await slot.read(at)
        if page is None:
            break
        if not await page.count.inc_not_zero(f"{at}#2"):
            await g.rt.cpu_relax(f"{at}#2")
            continue
        if await slot.read(f"{at}#3") is page:
            break
        await put_page(g, page, f"{at}#3")
    rcu_read_unlock(g.rt)
    return page


async def add_to_swap_cache(g: Globals, page: Page, entry: SwapEntry, points: Points) -> int:
    """__add_to_swap_cache(): the cache takes a reference on a locked page. Returns 0 or -ENOMEM.

    Args:
        points: the caller's, with the steps 2 to 5 of AS.
    """
    flags = page.flags.read_in_step(points["2"])
    locked = page.page_lock.held_by(g.rt.me)
    if not locked or flags & PG_SWAPCACHE or not flags & PG_SWAPBACKED:
        raise VmBug(points["2"], f"VM_BUG_ON in __add_to_swap_cache, pfn {page.pfn}")
    space = g.swapper_space
    await get_page(page, points["2"])
    await page.flags.set(points["3"], PG_SWAPCACHE)
    await page.private.write(points["4"], entry)
    await space.tree_lock.lock(points["5"])
    failed = g.rt.fault("enomem", points["5"])
    if not failed:
        await space.slot(entry).write(points["5#2"], page)
    space.tree_lock.unlock(points["5"])
    if not failed:
        return 0
    await page.private.write(points["5#3"], 0)
    await page.flags.clear(points["5#4"], PG_SWAPCACHE)
    await put_page(g, page, points["5#5"])
    return -ENOMEM


async def add_to_swap(g: Globals, page: Page) -> bool:
    """AS: give an anonymous page a slot and put it into the swap cache.

    Kernel: mm/swap_state.c, add_to_swap(), v2.6.33; specification AS.1-6. Context: page locked and
    uptodate. Returns whether it worked.
    """
    if not await page.flags.test(AS["1"], PG_UPTODATE):
        raise VmBug(AS["1"], f"VM_BUG_ON(!PageUptodate) in add_to_swap, pfn {page.pfn}")
    entry = await get_swap_page(g, AS["1"])
    if not entry:
        return False
    if await add_to_swap_cache(g, page, entry, AS):
        await swapcache_free(g, entry, AS["5"])
        return False
    await page.flags.set(AS["6"], PG_DIRTY)
    return True


async def delete_from_swap_cache_locked(g: Globals, page: Page, at: str) -> SwapEntry:
    """__delete_from_swap_cache(): take a page out of the tree; tree_lock held. Returns its slot.

    Points: ``/radix_tree_delete`` (slot), ``#2`` (private), ``#3`` (PG_swapcache).
    """
    at = f"{at}/radix_tree_delete"
    entry = page.private.read_in_step(at)
    flags = page.flags.read_in_step(at)
    if not page.page_lock.held_by(g.rt.me) or not flags & PG_SWAPCACHE or flags & PG_WRITEBACK:
        raise VmBug(at, f"VM_BUG_ON in __delete_from_swap_cache, pfn {page.pfn}")
    slot = g.swapper_space.slot(entry)
    if slot.read_in_step(at) is not page:
        raise KernelBug(at, f"swap cache slot {entry} does not hold pfn {page.pfn}")
    await slot.write(at, None)
    await page.private.write(f"{at}#2", 0)
    await page.flags.clear(f"{at}#3", PG_SWAPCACHE)
    return entry


async def delete_from_swap_cache(g: Globals, page: Page) -> None:
    """DX: take a page out of the swap cache.

    Kernel: mm/swap_state.c, delete_from_swap_cache(), v2.6.33; specification DX.1-3. Context: page
    locked, not under writeback; the caller holds a reference.
    """
    space = g.swapper_space
    await space.tree_lock.lock(DX["1"])
    entry = await delete_from_swap_cache_locked(g, page, DX["1"])
    space.tree_lock.unlock(DX["1"])
    await swapcache_free(g, entry, DX["2"])
    await put_page(g, page, DX["3"])
