# SPDX-License-Identifier: GPL-2.0-or-later
"""The page allocator, order 0.

Kernel: mm/page_alloc.c, v2.6.33; specification PF, and objects 1.1-1.2.

Differs: no watermarks, so that reclaim begins when nothing is left; an empty per-CPU list is
refilled one page at a time.
Tests: `tests/unit/test_page_alloc.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import Page, page_anon
from ksmtrio.mm.mmzone import (
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_UNMOVABLE,
    PerCpu,
    Zone,
)
from ksmtrio.mm.page_flags import (
    CHECK_AT_FREE,
    PG_ACTIVE,
    PG_BUDDY,
    PG_HWPOISON,
    PG_LRU,
    PG_MLOCKED,
    PG_UNEVICTABLE,
    flag_names,
)
from ksmtrio.sched.points import Points
from ksmtrio.units import Nid

PF = Points(__name__, "put_page", "PF", "2 2#2 3 4 4#2 5 6 6#2 6#3")


def zonelist(g: Globals, nid: Nid) -> list[Zone]:
    """Return the zones to try, the given node's first, then by distance."""
    return sorted(g.zones.values(), key=lambda zone: (abs(zone.nid - nid), zone.nid))


async def node_has_memory(g: Globals, nid: Nid, at: str) -> bool:
    """node_state(nid, N_HIGH_MEMORY): false once all of a node's memory is offline; a racy look."""
    return nid in g.zones and await g.zones[nid].present_pages.read(at) > 0


async def alloc_page(
    g: Globals,
    at: str,
    *,
    nids: Iterable[Nid] | None = None,
    zero: bool = False,
    thisnode: bool = False,
) -> Page | None:
    """alloc_page(GFP_HIGHUSER_MOVABLE): a page with `_count` 1, or None.

    Context: may sleep. Points: the caller's, with ``#2`` (zone lock) and ``#3`` (_count := 1).

    Args:
        at: label of the allocation.
        nids: nodes to take from, in this order and no others; None: the CPU's node, then the rest.
        zero: clear the content.
        thisnode: GFP_THISNODE: give up at once where nothing is free, without reclaim.
    """
    rt = g.rt
    rt.might_sleep(at)
    await rt.point(at, "alloc_page", None)
    if rt.fault("enomem", at):
        return None
    zones = zonelist(g, 0) if nids is None else [g.zones[nid] for nid in nids]
    page = await _get_page_from_freelist(g, zones, at, zero=zero)
    if page is None and not thisnode and await g.direct_reclaim(zones):
        page = await _get_page_from_freelist(g, zones, at, zero=zero)
    return page


async def _get_page_from_freelist(
    g: Globals, zones: list[Zone], at: str, *, zero: bool
) -> Page | None:
    """get_page_from_freelist(): the first zone that has a page; bad pages are dropped for good."""
    for zone in zones:
        while (page := await _rmqueue(g, zone, at)) is not None:
            if _check_new_page(page, at):
                await _prep_new_page(page, at, zero=zero)
                return page
    return None


async def _rmqueue(g: Globals, zone: Zone, at: str) -> Page | None:
    """buffered_rmqueue(): this CPU's list first, then MOVABLE, then UNMOVABLE pageblocks."""
    pcp = g.this_cpu.pcp
    for page in reversed(pcp):
        if page.nid == zone.nid:
            pcp.remove(page)
            return page
    await zone.lock.lock(f"{at}#2")
    free = zone.free_list[MIGRATE_MOVABLE] or zone.free_list[MIGRATE_UNMOVABLE]
    taken: Page | None = None
    if free:
        # Which free frame comes back is a data choice: the one freed last, or the coldest.
        coldest = g.rt.choose(min(len(free), 2), at) == 1
        taken = free.popleft() if coldest else free.pop()
        taken.flags.change_in_step(at, clear=PG_BUDDY)
    zone.lock.unlock(at)
    return taken


def _check_new_page(page: Page, at: str) -> bool:
    """check_new_page(): the allocator's checks; a page that fails them is not handed out."""
    flags, mapping = page.flags.read_in_step(at), page.mapping.read_in_step(at)
    count, mapcount = page.count.read_in_step(at), page.mapcount.read_in_step(at)
    if flags or mapping is not None or count or mapcount != -1:
        _bad_page(page, at, "allocated")
        return False
    return True


async def _prep_new_page(page: Page, at: str, *, zero: bool) -> None:
    """prep_new_page(): private 0 and _count 1."""
    page.private.write_in_step(at, 0)
    if zero:
        for half in page.content:
            half.write_in_step(at, 0)
    await page.count.write(f"{at}#3", 1)


def _bad_page(page: Page, at: str, what: str) -> None:
    """bad_page(): report a page whose state the allocator does not accept.

    A page with PG_hwpoison is no news: it just stays off the free lists from here on, its count 0.
    """
    if page.flags.read_in_step(at) & PG_HWPOISON:
        page.flags.change_in_step(at, clear=PG_BUDDY)
        return
    page.rt.notice(
        "bad-page",
        page,
        at,
        f"BUG: Bad page state, pfn {page.pfn} {what} with flags {flag_names(page.flags.value)}, "
        f"count {page.count.value}, mapcount {page.mapcount.value + 1}, "
        f"mapping {page.mapping.value}",
    )


async def free_page(g: Globals, page: Page) -> None:
    """Free a page whose reference count has reached 0.

    Kernel: mm/swap.c, __page_cache_release() and mm/page_alloc.c, free_hot_cold_page(), v2.6.33;
    specification PF.2-6. Context: any; takes lru_lock, zone->lock.
    """
    if await page.flags.test(PF["2"], PG_LRU):
        zone = g.zone_of(page)
        await zone.lru_lock.lock(PF["2#2"])
        for pages in zone.lru_list.values():
            if page in pages:
                pages.remove(page)
        page.flags.change_in_step(PF["2#2"], clear=PG_LRU | PG_ACTIVE | PG_UNEVICTABLE)
        zone.lru_lock.unlock(PF["2#2"])
    await free_hot_cold_page(g, page)


async def free_hot_cold_page(g: Globals, page: Page) -> None:
    """PF.3-6: free a page that is on no LRU list, its count 0.

    Kernel: mm/page_alloc.c, free_hot_cold_page(), v2.6.33.
    """
    await page.flags.test_and_clear(PF["3"], PG_MLOCKED)
    if await page_anon(page, PF["4"]):
        await page.mapping.write(PF["4#2"], None)
    await g.rt.point(PF["5"], "free_pages_check", page.flags)
    flags, mapping = page.flags.read_in_step(PF["5"]), page.mapping.read_in_step(PF["5"])
    count, mapcount = page.count.read_in_step(PF["5"]), page.mapcount.read_in_step(PF["5"])
    if flags & CHECK_AT_FREE or mapping is not None or count or mapcount != -1:
        _bad_page(page, PF["5"], "freed")
        return
    page.flags.write_in_step(PF["5"], 0)
    migratetype = await g.section_of(page.pfn).pageblock_of(page.pfn).read(PF["6"])
    await page.private.write(PF["6#2"], migratetype)
    if migratetype == MIGRATE_ISOLATE:
        zone = g.zone_of(page)
        await zone.lock.lock(PF["6#3"])
        if g.kernel.free_rechecks_migratetype:
            migratetype = _pageblock_type(g, page, PF["6#3"])
        _free_one_page(zone, page, migratetype, PF["6#3"])
        zone.lock.unlock(PF["6#3"])
    else:
        g.this_cpu.pcp.append(page)


def _pageblock_type(g: Globals, page: Page, at: str) -> int:
    """get_pageblock_migratetype() with zone->lock held, so that it cannot change."""
    return g.section_of(page.pfn).pageblock_of(page.pfn).read_in_step(at)


async def is_free_buddy_page(g: Globals, page: Page, at: str) -> bool:
    """is_free_buddy_page(): whether the page is on a buddy list; takes zone->lock.

    Points: the caller's with ``#3`` (lock) and ``#4`` (look).
    """
    zone = g.zone_of(page)
    await zone.lock.lock(f"{at}#3")
    free = await page.flags.test(f"{at}#4", PG_BUDDY)
    zone.lock.unlock(at)
    return free


def _free_one_page(zone: Zone, page: Page, migratetype: int, at: str) -> None:
    """Put a page on a buddy list; zone->lock held. `private` becomes the order, 0."""
    page.flags.change_in_step(at, set_=PG_BUDDY)
    page.private.write_in_step(at, 0)
    zone.free_list[migratetype].append(page)


async def drain_all_pages(g: Globals, at: str) -> None:
    """drain_all_pages(): give every CPU's free pages back to the buddy lists.

    Each page goes to the list of the migratetype it was freed under, even when its pageblock has
    been isolated since, unless `drain_rechecks_migratetype`.
    """
    for cpu in g.per_cpu:
        await g.rt.point(at, "drain_pages", None)
        for zone in g.zones.values():
            await zone.lock.lock(f"{at}#2")
            for page in _take_pcp(g, cpu, zone):
                migratetype = page.private.read_in_step(at)
                if g.kernel.drain_rechecks_migratetype:
                    migratetype = _pageblock_type(g, page, at)
                _free_one_page(zone, page, migratetype, at)
            zone.lock.unlock(at)


def _take_pcp(g: Globals, cpu: PerCpu, zone: Zone) -> list[Page]:
    """Take a zone's pages off a CPU's list, as work on that CPU."""
    cpu.worker = g.rt.me
    taken = [page for page in cpu.pcp if page.nid == zone.nid]
    for page in taken:
        cpu.pcp.remove(page)
    cpu.worker = None
    return taken
