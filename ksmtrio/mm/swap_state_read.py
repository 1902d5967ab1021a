# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading swapped-out pages in.

Kernel: mm/swap_state.c, v2.6.33; specification SW.2-3. Read-ahead is one page: the wanted one.
Tests: `tests/unit/test_swap_state.py`.
"""

from __future__ import annotations

from errno import EEXIST

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mempolicy_alloc import alloc_page_vma
from ksmtrio.mm.mm_types import Page, Vma
from ksmtrio.mm.mmzone import LRU_INACTIVE_ANON
from ksmtrio.mm.page_flags import PG_SWAPBACKED
from ksmtrio.mm.page_io import swap_readpage
from ksmtrio.mm.swap import lru_add_drain, lru_cache_add_lru, put_page
from ksmtrio.mm.swap_state import add_to_swap_cache, lookup_swap_cache
from ksmtrio.mm.swap_types import SwapEntry
from ksmtrio.mm.swapfile import swapcache_free, swapcache_prepare
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

READ_ASYNC = Points(
    __name__,
    "read_swap_cache_async",
    "",
    "1/find_get_page 1/find_get_page#2 1/find_get_page#3 1 3.1 3.1#2 3.1#3 3.2 "
    "3.2/swapcache_prepare 3.2#2 2 3 4 5 5#2 5#3 5#4 5#5 3.3 3.3/swapcache_free 3.4 "
    "3.4/lru_cache_add 3.4/pagevec_lru_add 3.4/pagevec_lru_add#2 3.4/release_pages 3.5",
)
AHEAD = Points(
    __name__,
    "swapin_readahead",
    "",
    "3 3.2 3.2/pagevec_lru_add 3.2/pagevec_lru_add#2 3.2/release_pages",
)


async def read_swap_cache_async(
    g: Globals, entry: SwapEntry, vma: Vma | None, address: Vaddr
) -> Page | None:
    """read_swap_cache_async(): the cached page of a slot, or a fresh one that is being read in.

    Kernel: mm/swap_state.c, v2.6.33. Tries again while somebody else is just about to put the slot
    into the cache, or to take it out.

    Args:
        vma, address: whose policy says where a fresh page comes from; None, 0 at swapoff.

    Returns:
        The page with a reference, perhaps still locked by the device; None when no pte holds the
        slot any more, or memory is short.
    """
    points, fresh = READ_ASYNC, None
    while True:
        page = await lookup_swap_cache(g, entry, points["1"])
        if page is not None:
            break
        if fresh is None:
            fresh = await alloc_page_vma(g, vma, address, points["3.1"])
            if fresh is None:
                break
        err = await swapcache_prepare(g, entry, points["3.2"])
        if err == -EEXIST:
            await g.rt.cpu_relax(points["3.2#2"])
            continue
        if err:
            break
        fresh.page_lock.set_page_locked(points["3.2"])
        fresh.flags.change_in_step(points["3.2"], set_=PG_SWAPBACKED)
        if await add_to_swap_cache(g, fresh, entry, points) == 0:
            await lru_cache_add_lru(g, fresh, LRU_INACTIVE_ANON, points["3.4"])
            await swap_readpage(g, fresh)
            return fresh
        fresh.page_lock.clear_page_locked(points["3.3"])
        fresh.flags.change_in_step(points["3.3"], clear=PG_SWAPBACKED)
        await swapcache_free(g, entry, points["3.3"])
        break
    if fresh is not None:
        await put_page(g, fresh, points["3.5"])
    return page


async def swapin_readahead(g: Globals, entry: SwapEntry, vma: Vma, address: Vaddr) -> Page | None:
    """swapin_readahead(): start reading, push the page to its LRU list, look it up again.

    Kernel: mm/swap_state.c, v2.6.33. Returns as `read_swap_cache_async`.
    """
    page = await read_swap_cache_async(g, entry, vma, address)
    if page is not None:
        await put_page(g, page, AHEAD["3"])
    await lru_add_drain(g, AHEAD["3.2"])
    return await read_swap_cache_async(g, entry, vma, address)
