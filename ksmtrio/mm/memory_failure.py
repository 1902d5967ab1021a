# SPDX-License-Identifier: GPL-2.0-or-later
"""Soft offline: take one page out of use for good. Kernel: mm/memory-failure.c, v2.6.33.

Specification SO. A page that was taken out carries PG_hwpoison. It is on no free list, with count
0; or it is still on one, from which the allocator drops it in place of handing it out; or it is on
its way there in a pagevec, and is dropped when it is freed. So a checker may not miss it on the
free lists, nor expect its block to go offline: check_pages_isolated counts it as in use.

Differs: nothing but soft offline sets PG_hwpoison, and no pte becomes a hwpoison entry when a page
that carries it is unmapped. Tests: `tests/unit/test_memory_failure.py`.
"""

from __future__ import annotations

from errno import EBUSY, EIO

from ksmtrio.mm.filemap import wait_on_page_writeback
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory_hotplug import lock_memory_hotplug, unlock_memory_hotplug
from ksmtrio.mm.mempolicy_alloc import alloc_pages_exact_node
from ksmtrio.mm.migrate import Target, migrate_pages
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.page_alloc import drain_all_pages, is_free_buddy_page
from ksmtrio.mm.page_flags import PG_HWPOISON, PG_LRU
from ksmtrio.mm.page_isolation import set_migratetype_isolate, unset_migratetype_isolate
from ksmtrio.mm.swap import lru_add_drain_all, put_page
from ksmtrio.mm.vmscan import isolate_lru_page
from ksmtrio.sched.points import Points
from ksmtrio.units import Pfn

SO = Points(
    __name__,
    "soft_offline_page",
    "SO",
    "1/get_any_page 1/get_any_page#2 1/get_any_page#3 1/get_any_page#4 1/get_any_page#5 "
    "1/get_any_page#6 2 3/put_page 3 3/pagevec_lru_add 3/pagevec_lru_add#2 3/release_pages "
    "3/shake_page 3/drain_all_pages 3/drain_all_pages#2 "
    "3/get_any_page 3/get_any_page#2 3/get_any_page#3 3/get_any_page#4 3/get_any_page#5 "
    "3/get_any_page#6 "
    "4 4/put_page 5 5/wait_on_page_writeback 5/wait_on_page_writeback#2 6 6#2 6/put_page 7 "
    "7/put_page 9/new_page 9/new_page#2 9/new_page#3 10",
)


async def soft_offline_page(g: Globals, pfn: Pfn) -> int:
    """SO: move what a page holds elsewhere, and never use the page again.

    Kernel: mm/memory-failure.c, soft_offline_page(), v2.6.33. Context: sleeps; holds no lock around
    the migration.

    Steps of SO:
        1. get_any_page: error: return it; free: go to 10. Otherwise the page is referenced now.
        2. Read PG_lru: set: go to 4.
        3. put_page; shake_page; get_any_page again: error: return it; free: go to 10.
        4. Read PG_lru, also when 2 found it set: clear: -EIO. **The reference stays behind** (later
           kernels drop it).
        5. LOCK page (sleeps); wait for writeback (sleeps).
        6. PG_hwpoison set: UNLOCK page, put_page, -EBUSY.
        7. (invalidate_inode_page never gets rid of an anonymous page.) UNLOCK page; put_page, since
           migration does not like raised counts. From here the page may be freed and used anew.
        8. IL: error: return it.
        9. MPg(page, new page from the same node if it has one, **offlining 0**). There was no
           PageKsm test: UM.6 is the only guard. Not moved: -EIO; an error: return it.
        10. Set PG_hwpoison. Nobody holds the page any more: it may already be somebody else's.

    Returns:
        0 or a negative errno.
    """
    page = g.pfn_to_page(pfn)
    ret = await get_any_page(g, page, SO["1/get_any_page"])
    if ret == 1 and not await page.flags.test(SO["2"], PG_LRU):
        await put_page(g, page, SO["3/put_page"])
        await shake_page(g, page, SO["3"])
        ret = await get_any_page(g, page, SO["3/get_any_page"])
    if ret == 1 and not await page.flags.test(SO["4"], PG_LRU):
        if g.kernel.soft_offline_puts_the_page:
            await put_page(g, page, SO["4/put_page"])
        return -EIO
    if ret == 1:
        ret = await _migrate_away(g, page)
    if ret == 0:
        await page.flags.set(SO["10"], PG_HWPOISON)
    return ret


async def _migrate_away(g: Globals, page: Page) -> int:
    """SO.5-9: the page is referenced."""
    await page.page_lock.lock(SO["5"])
    await wait_on_page_writeback(page, SO["5"])
    if await page.flags.test(SO["6"], PG_HWPOISON):
        await page.page_lock.unlock(SO["6#2"])
        await put_page(g, page, SO["6/put_page"])
        return -EBUSY
    await page.page_lock.unlock(SO["7"])
    await put_page(g, page, SO["7/put_page"])
    ret = await isolate_lru_page(g, page)
    if ret:
        return ret

    async def new_page(old: Page) -> Target:
        return Target(await alloc_pages_exact_node(g, old.nid, SO["9/new_page"]))

    ret = await migrate_pages(g, [page], new_page, offlining=False)
    return -EIO if ret > 0 else ret


async def get_any_page(g: Globals, page: Page, at: str) -> int:
    """get_any_page(): take a reference, or find out that the page is free.

    Kernel: mm/memory-failure.c, v2.6.33. Holds off memory hot-remove by lock_system_sleep, which
    does nothing without hibernation; a block that is being offlined then loses its isolation here.
    Points: the caller's (pm_mutex), ``#2`` (reference), ``#3`` and ``#4`` (free?), ``#5``
    (PG_hwpoison), ``#6`` (pm_mutex).

    Returns:
        1: referenced; 0: free, and marked with PG_hwpoison; -EIO: neither.
    """
    held = g.kernel.proposed_soft_offline_holds_off_removal
    if not held:
        await lock_memory_hotplug(g, at)
    section = g.section_of(page.pfn)
    block = (page.pfn - section.start_pfn) // section.pageblock_nr_pages
    # So that a free page stays free meanwhile. A block that may not be isolated is left as it is.
    await set_migratetype_isolate(g, section, block, section.migratetypes[block])
    ret = 1
    if not await page.count.inc_not_zero(f"{at}#2"):
        ret = -EIO
        if await is_free_buddy_page(g, page, at):
            await page.flags.set(f"{at}#5", PG_HWPOISON)
            ret = 0
    await unset_migratetype_isolate(g, section, block)
    if not held:
        await unlock_memory_hotplug(g, f"{at}#6")
    return ret


async def shake_page(g: Globals, page: Page, at: str) -> None:
    """shake_page(): empty the lists that may hold the page, until it is on an LRU list or free.

    Kernel: mm/memory-failure.c, v2.6.33. Differs: there are no slab caches to shrink in the end.
    Points: those of `lru_add_drain_all`, ``/shake_page`` (PG_lru), ``/drain_all_pages``.
    """
    await lru_add_drain_all(g, at)
    if not await page.flags.test(f"{at}/shake_page", PG_LRU):
        await drain_all_pages(g, f"{at}/drain_all_pages")
