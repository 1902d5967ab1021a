# SPDX-License-Identifier: GPL-2.0-or-later
"""LRU isolation. Kernel: mm/vmscan.c, v2.6.33; specification IL, PL, PLS.

Tests: `tests/unit/test_vmscan.py`.
"""

from __future__ import annotations

from errno import EBUSY

from ksmtrio.errors import VmBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, LRU_INACTIVE_ANON
from ksmtrio.mm.page_flags import PG_ACTIVE, PG_LRU, PG_MLOCKED, PG_UNEVICTABLE
from ksmtrio.mm.swap import add_page_to_unevictable_list, lru_cache_add_lru, put_page
from ksmtrio.sched.points import Points

IL = Points(__name__, "isolate_lru_page", "IL", "1 2 2a 2a#2")
PL = Points(
    __name__,
    "putback_lru_page",
    "PL",
    "1 2 3 3.1 3.1/lru_cache_add 3.1/pagevec_lru_add 3.1/pagevec_lru_add#2 3.1/release_pages 3.2 "
    "3.2#2 3.3 4",
)
PLS = Points(__name__, "putback_lru_pages", "PLS", "1")


async def isolate_lru_page(g: Globals, page: Page) -> int:
    """Take a page off its LRU list, with a reference.

    Kernel: mm/vmscan.c, isolate_lru_page(), v2.6.33; specification IL.1-2. Context: takes lru_lock;
    the caller need not hold a reference.

    Returns:
        0, or -EBUSY when the page is not on an LRU list.
    """
    if not await page.flags.test(IL["1"], PG_LRU):
        return -EBUSY
    zone = g.zone_of(page)
    await zone.lru_lock.lock(IL["2"])
    ret = -EBUSY
    if page.flags.read_in_step(IL["2"]) & PG_LRU and await page.count.inc_not_zero(IL["2a"]):
        await page.flags.clear(IL["2a#2"], PG_LRU)
        for pages in zone.lru_list.values():
            if page in pages:
                pages.remove(page)
        ret = 0
    zone.lru_lock.unlock(IL["2"])
    return ret


async def putback_lru_page(g: Globals, page: Page) -> None:
    """Return an isolated page to its LRU list and drop the isolation reference.

    Kernel: mm/vmscan.c, putback_lru_page(), v2.6.33; specification PL.1-4. The list is reached
    through this CPU's pagevec, whose reference outlives the caller's.
    """
    active = await page.flags.test_and_clear(PL["1"], PG_ACTIVE)
    if page.flags.read_in_step(PL["1"]) & PG_LRU:
        raise VmBug(PL["1"], f"VM_BUG_ON(PageLRU) in putback_lru_page, pfn {page.pfn}")
    while True:
        await page.flags.clear(PL["2"], PG_UNEVICTABLE)
        if not await page.flags.test(PL["3"], PG_MLOCKED):
            lru = LRU_ACTIVE_ANON if active else LRU_INACTIVE_ANON
            await lru_cache_add_lru(g, page, lru, PL["3.1"])
            break
        await add_page_to_unevictable_list(g, page, PL["3.2"])
        if await page.flags.test(PL["3.3"], PG_MLOCKED) or await isolate_lru_page(g, page):
            break
        await put_page(g, page, PL["3.3"])
    await put_page(g, page, PL["4"])


async def putback_lru_pages(g: Globals, pages: list[Page]) -> None:
    """PLS: put every page of a private list back, emptying the list.

    Kernel: mm/migrate.c, putback_lru_pages(), v2.6.33.

    Steps of PLS:
        1. For each page: unlink it from the list; PL.
    """
    while pages:
        page = pages.pop(0)
        await g.rt.point(PLS["1"], "list_del", page.flags)
        await putback_lru_page(g, page)
