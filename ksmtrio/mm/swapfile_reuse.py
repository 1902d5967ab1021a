# SPDX-License-Identifier: GPL-2.0-or-later
"""Giving slots back: may a page be written in place, can its slot be freed.

Kernel: mm/swapfile.c and free_swap_cache() of mm/swap_state.c, v2.6.33; specification RU FS and
parts of ZP. Tests: `tests/unit/test_swapfile_reuse.py`.
"""

from __future__ import annotations

from ksmtrio.errors import VmBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import Page, page_mapcount, page_mapped
from ksmtrio.mm.page_flags import PG_DIRTY, PG_SWAPCACHE, PG_WRITEBACK
from ksmtrio.mm.swap import put_page
from ksmtrio.mm.swap_state import delete_from_swap_cache, lookup_swap_cache
from ksmtrio.mm.swap_types import SWAP_HAS_CACHE, SwapEntry
from ksmtrio.mm.swapfile import page_swapcount, swap_entry_free_locked, vm_swap_full
from ksmtrio.sched.points import Points

RU = Points(__name__, "reuse_swap_page", "RU", "1 2 3 4 4/page_swapcount 5 6")
FS = Points(__name__, "try_to_free_swap", "FS", "1 2 3 3/page_swapcount 4")
FSC = Points(
    __name__,
    "free_swap_and_cache",
    "",
    "1 2 2/find_get_page 2/find_get_page#2 2/find_get_page#3 3 4 5 6 7 7/vm_swap_full "
    "7/vm_swap_full#2 9 10 10#2",
)


def _assert_locked(g: Globals, page: Page, at: str) -> None:
    if not page.page_lock.held_by(g.rt.me):
        raise VmBug(at, f"VM_BUG_ON(!PageLocked), pfn {page.pfn}")


async def reuse_swap_page(g: Globals, page: Page) -> bool:
    """RU: may the only mapper write to the page in place? Page locked.

    Kernel: mm/swapfile.c, reuse_swap_page(), v2.6.33. The reference count is not consulted.

    Steps of RU:
        1. Read the mapping word; a KSM page: no.
        2. Read the mapcount; more than one: no.
        3. Not in the swap cache: yes.
        4. Read the slot and add the ptes that hold it to the mapcount; more than one: no.
        5. Exactly one: go on unless the page is under writeback. In any case: yes.
        6. DX; set PG_dirty.
    """
    _assert_locked(g, page, RU["1"])
    word = await page.mapping.read(RU["1"])
    if word is not None and word.ksm:
        return False
    count = await page_mapcount(page, RU["2"])
    if count <= 1 and await page.flags.test(RU["3"], PG_SWAPCACHE):
        entry = await page.private.read(RU["4"])
        count += await page_swapcount(g, entry, RU["4"])
        if count == 1 and not await page.flags.test(RU["5"], PG_WRITEBACK):
            await delete_from_swap_cache(g, page)
            await page.flags.set(RU["6"], PG_DIRTY)
    return count <= 1


async def try_to_free_swap(g: Globals, page: Page) -> bool:
    """FS: take a page whose slot no pte holds out of the swap cache. Page locked.

    Kernel: mm/swapfile.c, try_to_free_swap(), v2.6.33. Applies to KSM pages as well; their mapping
    word stays.

    Steps of FS:
        1. Not in the swap cache: no.
        2. Under writeback: no.
        3. Read the slot; some pte holds it: no.
        4. DX; set PG_dirty. Yes.
    """
    _assert_locked(g, page, FS["1"])
    if not await page.flags.test(FS["1"], PG_SWAPCACHE):
        return False
    if await page.flags.test(FS["2"], PG_WRITEBACK):
        return False
    if await page_swapcount(g, await page.private.read(FS["3"]), FS["3"]):
        return False
    await delete_from_swap_cache(g, page)
    await page.flags.set(FS["4"], PG_DIRTY)
    return True


async def free_swap_and_cache(g: Globals, entry: SwapEntry) -> None:
    """free_swap_and_cache(): a pte lets go of its slot; with the last one the cached page goes too.

    Kernel: mm/swapfile.c, v2.6.33; specification ZP.4. Context: pte lock held; only trylocks the
    page. Steps: 1 swap_lock, one pte less; 2 when only the cache is left, its page; 3 trylock; 4
    when that fails, put it; 5-7 locked: still in the cache, no writeback, and unmapped or swap
    nearly full: 9 delete from the cache, dirty; 10 unlock and put.
    """
    swap = g.swap
    await swap.swap_lock.lock(FSC["1"])
    page: Page | None = None
    if swap_entry_free_locked(g, entry, 1, FSC["1"]) == SWAP_HAS_CACHE:
        page = await lookup_swap_cache(g, entry, FSC["2"])
        if page is not None and not await page.page_lock.trylock(FSC["3"]):
            await put_page(g, page, FSC["4"])
            page = None
    swap.swap_lock.unlock(FSC["4"])
    if page is None:
        return
    cached = await page.flags.test(FSC["5"], PG_SWAPCACHE)
    if cached and not await page.flags.test(FSC["6"], PG_WRITEBACK):
        full = FSC["7/vm_swap_full"]
        unneeded = not await page_mapped(page, FSC["7"]) or await vm_swap_full(g, full)
        if unneeded:
            await delete_from_swap_cache(g, page)
            await page.flags.set(FSC["9"], PG_DIRTY)
    await page.page_lock.unlock(FSC["10"])
    await put_page(g, page, FSC["10#2"])


async def free_swap_cache(g: Globals, page: Page, at: str) -> None:
    """free_swap_cache(): drop an unmapped page from the swap cache if nobody locks it.

    Kernel: mm/swap_state.c, v2.6.33; specification ZP.6. Points: the caller's with
    ``/free_swap_cache`` (PG_swapcache), ``#2`` (mapped), ``#3`` (trylock), ``#4`` (unlock).
    """
    at = f"{at}/free_swap_cache"
    if not await page.flags.test(at, PG_SWAPCACHE) or await page_mapped(page, f"{at}#2"):
        return
    if await page.page_lock.trylock(f"{at}#3"):
        await try_to_free_swap(g, page)
        await page.page_lock.unlock(f"{at}#4")
