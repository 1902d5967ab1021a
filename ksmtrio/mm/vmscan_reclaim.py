# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim: aging the LRU lists, swapping out, freeing. For kswapd and for allocations in need.

Kernel: mm/vmscan.c, v2.6.33; specification SL RX. LRU isolation of single pages is in vmscan.py.
Differs: no priorities, watermarks or memory control groups; each round looks at up to
`SWAP_CLUSTER_MAX` pages of either list. Tests: `tests/unit/test_vmscan_reclaim.py`.
"""

from __future__ import annotations

from typing import Final

from ksmtrio.errors import VmBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_rmap import page_referenced, try_to_unmap
from ksmtrio.mm.mm_types import VM_LOCKED, Page, page_anon, page_mapped
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, LRU_INACTIVE_ANON, PAGEVEC_SIZE, Zone
from ksmtrio.mm.page_alloc import free_hot_cold_page
from ksmtrio.mm.page_flags import (
    PG_ACTIVE,
    PG_DIRTY,
    PG_LRU,
    PG_MLOCKED,
    PG_SWAPCACHE,
    PG_UNEVICTABLE,
    PG_WRITEBACK,
)
from ksmtrio.mm.page_io import swap_writepage
from ksmtrio.mm.rmap import SWAP_AGAIN, SWAP_FAIL, SWAP_MLOCK, TTU_UNMAP
from ksmtrio.mm.swap import lru_add_drain, put_page
from ksmtrio.mm.swap_state import add_to_swap, delete_from_swap_cache_locked
from ksmtrio.mm.swapfile import swapcache_free, vm_swap_full
from ksmtrio.mm.swapfile_reuse import try_to_free_swap
from ksmtrio.mm.vmscan import putback_lru_page
from ksmtrio.sched.points import Points
from ksmtrio.units import Nid

SWAP_CLUSTER_MAX: Final = 32
_RECLAIM_ROUNDS: Final = 3
"""Rounds of direct reclaim; between two of them it sleeps, so that writeback can end."""

SL = Points(
    __name__,
    "shrink_page_list",
    "SL",
    "1 2 3 4 4/page_mapping_inuse 5 5#2 6 6#2 7 7#2 7#3 7#4 7#5 7#6 7#7",
)
SL_OUT = Points(
    __name__,
    "shrink_page_list",
    "",
    "resched cull cull#2 activate activate#2 activate/vm_swap_full activate/vm_swap_full#2 keep",
)
RX = Points(
    __name__,
    "__remove_mapping",
    "RX",
    "1 2 3 3#2 4 4/radix_tree_delete 4/radix_tree_delete#2 4/radix_tree_delete#3 5 "
    "5/swapcache_free 6",
)
INACTIVE = Points(
    __name__,
    "shrink_inactive_list",
    "",
    "1 1/pagevec_lru_add 1/pagevec_lru_add#2 1/release_pages 2 2#2 2#3 3 3#2 3#3 4 "
    "4/pagevec_lru_add 4/pagevec_lru_add#2 4/release_pages 4/put_page",
)
ACTIVE = Points(
    __name__,
    "shrink_active_list",
    "",
    "1 1/pagevec_lru_add 1/pagevec_lru_add#2 1/release_pages 2 2#2 2#3 3 3#2 4 "
    "4/page_mapping_inuse 4#2 5 5#2 6 6/pagevec_lru_add 6/pagevec_lru_add#2 6/release_pages "
    "6/put_page",
)
ZONE = Points(__name__, "shrink_zone", "", "1")
KSWAPD = Points(__name__, "kswapd", "", "1")
DIRECT = Points(__name__, "try_to_free_pages", "", "1")


async def try_to_free_pages(g: Globals, zones: list[Zone]) -> int:
    """try_to_free_pages(): direct reclaim by a task that found no page. Sleeps.

    Returns:
        Pages freed.
    """
    for attempt in range(_RECLAIM_ROUNDS):
        freed = 0
        for zone in zones:
            freed += await shrink_zone(g, zone)
        if freed or g.swap.total == 0:
            return freed
        if attempt + 1 < _RECLAIM_ROUNDS:
            await g.rt.sleep(DIRECT["1"])
    return 0


async def kswapd(g: Globals, *, rounds: int) -> None:
    """kswapd(): rounds of reclaim over all nodes, with a sleep after each.

    Kernel: mm/vmscan.c, v2.6.33. Differs: one thread for all nodes, and the scenario, not the
    watermarks, says how often it is woken.
    """
    for _ in range(rounds):
        for nid in g.zones:
            await balance_pgdat(g, nid)
        await g.rt.sleep(KSWAPD["1"])


async def balance_pgdat(g: Globals, nid: Nid) -> int:
    """balance_pgdat(): one round of kswapd over a node. Returns pages freed."""
    return await shrink_zone(g, g.zones[nid])


async def shrink_zone(g: Globals, zone: Zone) -> int:
    """shrink_zone(): age the active list, then reclaim from the inactive one.

    Without a free slot of swap, anonymous pages are not looked at. Returns pages freed.
    """
    if await g.swap.nr_swap_pages.read(ZONE["1"]) <= 0:
        return 0
    await shrink_active_list(g, zone)
    return await shrink_inactive_list(g, zone)


async def _isolate_pages(zone: Zone, lru: str, points: Points) -> list[Page]:
    """isolate_lru_pages(): take pages off a list, the oldest first, each with a reference."""
    await zone.lru_lock.lock(points["2"])
    taken: list[Page] = []
    for page in list(zone.lru_list[lru][:SWAP_CLUSTER_MAX]):
        if await page.count.inc_not_zero(points["2#2"]):
            await page.flags.clear(points["2#3"], PG_LRU)
            zone.lru_list[lru].remove(page)
            taken.append(page)
    zone.lru_lock.unlock(points["2"])
    return taken


async def shrink_active_list(g: Globals, zone: Zone) -> None:
    """shrink_active_list(): move pages to the inactive list, clearing their accessed bits.

    Kernel: mm/vmscan.c, v2.6.33. Anonymous pages are deactivated whether they were used or not.
    Steps: 1 drain; 2 isolate; 3 per page: mlocked ones are put back, 4 used bits cleared, PG_active
    cleared; 5 under lru_lock onto the inactive list; 6 without the lock, after each 14 pages and at
    the end, drain and drop the isolation references.
    """
    await lru_add_drain(g, ACTIVE["1"])
    aged: list[Page] = []
    for page in await _isolate_pages(zone, LRU_ACTIVE_ANON, ACTIVE):
        await g.rt.cond_resched(ACTIVE["3"])
        if await page.flags.test(ACTIVE["3#2"], PG_MLOCKED):
            await putback_lru_page(g, page)
            continue
        if await _page_mapping_inuse(page, ACTIVE["4"]):
            await page_referenced(g, page, is_locked=False)
        await page.flags.clear(ACTIVE["4#2"], PG_ACTIVE)
        aged.append(page)
    while aged:
        pagevec, aged = aged[:PAGEVEC_SIZE], aged[PAGEVEC_SIZE:]
        await zone.lru_lock.lock(ACTIVE["5"])
        for page in pagevec:
            await _add_to_lru(zone, page, ACTIVE["5#2"])
        zone.lru_lock.unlock(ACTIVE["5#2"])
        await _pagevec_release(g, pagevec, ACTIVE["6"])


async def _page_mapping_inuse(page: Page, at: str) -> bool:
    """page_mapping_inuse(): mapped, or in the swap cache.

    Points: the caller's (mapcount), ``/page_mapping_inuse`` (PG_swapcache).
    """
    if await page_mapped(page, at):
        return True
    return await page.flags.test(f"{at}/page_mapping_inuse", PG_SWAPCACHE)


async def _add_to_lru(zone: Zone, page: Page, at: str) -> None:
    """SetPageLRU() and add_page_to_lru_list(), lru_lock held."""
    if await page.flags.test_and_set(at, PG_LRU):
        raise VmBug(at, f"VM_BUG_ON(PageLRU), pfn {page.pfn}")
    active = page.flags.read_in_step(at) & PG_ACTIVE
    zone.lru_list[LRU_ACTIVE_ANON if active else LRU_INACTIVE_ANON].append(page)


async def shrink_inactive_list(g: Globals, zone: Zone) -> int:
    """shrink_inactive_list(): isolate, reclaim, put the rest back.

    Kernel: mm/vmscan.c, v2.6.33. Steps: 1 drain; 2 isolate; shrink_page_list; 3 under lru_lock
    back to the lists (mlocked pages by putback_lru_page, without the lock); 4 without the lock,
    after each 14 pages and at the end, drain and drop the references.

    Returns:
        Pages freed.
    """
    await lru_add_drain(g, INACTIVE["1"])
    taken = await _isolate_pages(zone, LRU_INACTIVE_ANON, INACTIVE)
    if not taken:
        return 0
    kept, freed = await shrink_page_list(g, taken)
    pagevec: list[Page] = []
    await zone.lru_lock.lock(INACTIVE["3"])
    for page in kept:
        if await page.flags.test(INACTIVE["3#2"], PG_MLOCKED):
            zone.lru_lock.unlock(INACTIVE["3#2"])
            await putback_lru_page(g, page)
            await zone.lru_lock.lock(INACTIVE["3"])
            continue
        await _add_to_lru(zone, page, INACTIVE["3#3"])
        pagevec.append(page)
        if len(pagevec) == PAGEVEC_SIZE:
            zone.lru_lock.unlock(INACTIVE["3#3"])
            await _pagevec_release(g, pagevec, INACTIVE["4"])
            await zone.lru_lock.lock(INACTIVE["3"])
    zone.lru_lock.unlock(INACTIVE["3"])
    await _pagevec_release(g, pagevec, INACTIVE["4"])
    return freed


async def _pagevec_release(g: Globals, pagevec: list[Page], at: str) -> None:
    """pagevec_release(): drain this CPU's pagevecs; drop the references, and empty this pagevec.

    Kernel: mm/swap.c, v2.6.33. Points: those of a drain, ``/put_page``.
    """
    if not pagevec:
        return
    await lru_add_drain(g, at)
    for page in pagevec:
        await put_page(g, page, f"{at}/put_page")
    pagevec.clear()


async def shrink_page_list(g: Globals, pages: list[Page]) -> tuple[list[Page], int]:
    """SL: try to free each isolated page.

    Kernel: mm/vmscan.c, shrink_page_list(), v2.6.33; specification SL.1-9.

    Returns:
        (pages to be put back on their lists, in the order in which they come; pages freed).
    """
    kept: list[Page] = []
    freed = 0
    for page in pages:
        await g.rt.cond_resched(SL_OUT["resched"])
        done = await _shrink_page(g, page)
        if done == "keep":
            kept.append(page)
        elif done == "freed":
            freed += 1
    return kept, freed


async def _shrink_page(g: Globals, page: Page) -> str:
    """SL.1-9 for one page: ``freed``, ``culled`` (put back already) or ``keep``."""
    if not await page.page_lock.trylock(SL["1"]):
        return "keep"
    if await page.flags.test(SL["2"], PG_MLOCKED):
        return await _cull(g, page)
    if await page.flags.test(SL["3"], PG_WRITEBACK):
        return await _keep_locked(page)
    referenced = await page_referenced(g, page, is_locked=True)
    in_use = referenced.count and not referenced.vm_flags & VM_LOCKED
    if in_use and await _page_mapping_inuse(page, SL["4"]):
        return await _activate(g, page)
    anon = await page_anon(page, SL["5"])
    if (
        anon
        and not await page.flags.test(SL["5#2"], PG_SWAPCACHE)
        and not await add_to_swap(g, page)
    ):
        return await _activate(g, page)
    in_cache = await page.flags.test(SL["6"], PG_SWAPCACHE)
    if in_cache and await page_mapped(page, SL["6#2"]):
        ret = await try_to_unmap(g, page, TTU_UNMAP)
        if ret == SWAP_FAIL:
            return await _activate(g, page)
        if ret == SWAP_AGAIN:
            return await _keep_locked(page)
        if ret == SWAP_MLOCK:
            return await _cull(g, page)
    if await page.flags.test(SL["7"], PG_DIRTY):
        if referenced.count:
            return await _keep_locked(page)
        kept = await _pageout(g, page)
        if kept is not None:
            return kept
    if not in_cache or not await _remove_mapping(g, page):
        return await _keep_locked(page)
    await g.rt.point(RX["6"], "clear_page_locked", page.flags)
    page.page_lock.clear_page_locked(RX["6"])
    await free_hot_cold_page(g, page)
    return "freed"


async def _pageout(g: Globals, page: Page) -> str | None:
    """SL.7, pageout(): write a dirty page to its slot. None: it is clean and locked, go on.

    A page that somebody else refers to is kept. Writing unlocks the page; only if it is clean at
    once, and can be locked again, may it be freed in this round.
    """
    if await page.count.read(SL["7#2"]) != 2:
        return await _keep_locked(page)
    if not await page.flags.test_and_clear(SL["7#3"], PG_DIRTY):
        return None
    await swap_writepage(g, page)
    if await page.flags.read(SL["7#4"]) & (PG_WRITEBACK | PG_DIRTY):
        return "keep"
    if not await page.page_lock.trylock(SL["7#5"]):
        return "keep"
    if await page.flags.read(SL["7#6"]) & (PG_WRITEBACK | PG_DIRTY):
        return await _keep_locked(page)
    if not await page.flags.test(SL["7#7"], PG_SWAPCACHE):
        return await _keep_locked(page)
    return None


async def _remove_mapping(g: Globals, page: Page) -> bool:
    """RX, __remove_mapping(): take a clean page out of the swap cache, its count frozen at 0.

    Kernel: mm/vmscan.c, v2.6.33; specification RX.1-6. Context: page locked, unmapped, two
    references: isolation and cache. While the count is frozen, get_ksm_page takes the page for one
    that is being freed, which is wrong if it turns out to be dirty again (step 3).

    Returns:
        Whether it worked; the count is then 0 for good.
    """
    space = g.swapper_space
    await space.tree_lock.lock(RX["1"])
    if not await page.count.cmpxchg(RX["2"], 2, 0):
        space.tree_lock.unlock(RX["2"])
        return False
    if await page.flags.test(RX["3"], PG_DIRTY):
        await page.count.write(RX["3#2"], 2)
        space.tree_lock.unlock(RX["3#2"])
        return False
    entry = await delete_from_swap_cache_locked(g, page, RX["4"])
    space.tree_lock.unlock(RX["4"])
    await swapcache_free(g, entry, RX["5"])
    return True


async def _keep_locked(page: Page) -> str:
    await page.page_lock.unlock(SL_OUT["keep"])
    return "keep"


async def _activate(g: Globals, page: Page) -> str:
    """activate_locked: back to the active list; when swap is nearly full, its slot is given up."""
    flags = await page.flags.read(SL_OUT["activate"])
    if flags & PG_SWAPCACHE and await vm_swap_full(g, SL_OUT["activate/vm_swap_full"]):
        await try_to_free_swap(g, page)
    if flags & (PG_ACTIVE | PG_UNEVICTABLE):
        raise VmBug(SL_OUT["activate"], f"VM_BUG_ON(PageActive), pfn {page.pfn}")
    await page.flags.set(SL_OUT["activate#2"], PG_ACTIVE)
    return await _keep_locked(page)


async def _cull(g: Globals, page: Page) -> str:
    """cull_mlocked: to the unevictable list."""
    if await page.flags.test(SL_OUT["cull"], PG_SWAPCACHE):
        await try_to_free_swap(g, page)
    await page.page_lock.unlock(SL_OUT["cull#2"])
    await putback_lru_page(g, page)
    return "culled"
