# SPDX-License-Identifier: GPL-2.0-or-later
"""Pageblock isolation.

Kernel: mm/page_isolation.c and mm/page_alloc.c, v2.6.33; specification IS UN CI.

Tests: `tests/unit/test_memory_hotplug.py`.
"""

from __future__ import annotations

from errno import EBUSY

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mmzone import MIGRATE_ISOLATE, MIGRATE_MOVABLE, Section
from ksmtrio.mm.page_alloc import drain_all_pages
from ksmtrio.mm.page_flags import PG_BUDDY
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.points import Points

IS = Points(__name__, "start_isolate_page_range", "IS", "1 2 3 3#2")
UN = Points(__name__, "unset_migratetype_isolate", "UN", "1 2")
CI = Points(__name__, "check_pages_isolated", "CI", "1 2 3 4 5")


def _move_freepages(g: Globals, section: Section, block: int, from_: int, to: int) -> None:
    """move_freepages_block(): move a pageblock's free pages between lists; zone->lock held."""
    free = g.zones[section.nid].free_list
    first = section.start_pfn + block * section.pageblock_nr_pages
    last = first + section.pageblock_nr_pages
    moved = [page for page in free[from_] if first <= page.pfn < last]
    for page in moved:
        free[from_].remove(page)
        free[to].append(page)


async def start_isolate_page_range(g: Globals, section: Section) -> int:
    """IS: mark every pageblock of a block ISOLATE, so that no page of it is allocated any more.

    Kernel: mm/page_isolation.c, start_isolate_page_range() and mm/page_alloc.c,
    set_migratetype_isolate(), v2.6.33.

    Steps of IS:
        1. For each pageblock: LOCK zone.lock; read the migratetype.
           Not MOVABLE: UNLOCK; UN for those that were isolated already; return -EBUSY.
        2. Migratetype := ISOLATE; move its free pages to the ISOLATE list; UNLOCK.
        3. Drain the per-CPU lists.

    Returns:
        0, or -EBUSY when one may not be isolated (those already done are undone).
    """
    for block, migratetype in enumerate(section.migratetypes):
        if not await set_migratetype_isolate(g, section, block, migratetype):
            for undo in range(block):
                await unset_migratetype_isolate(g, section, undo)
            return -EBUSY
    return 0


async def set_migratetype_isolate(
    g: Globals, section: Section, block: int, migratetype: Cell[int]
) -> bool:
    """set_migratetype_isolate(). Differs: no balloon drivers on the isolate-notifier chain."""
    zone = g.zones[section.nid]
    await zone.lock.lock(IS["1"])
    movable = migratetype.read_in_step(IS["1"]) == MIGRATE_MOVABLE
    if movable:
        await migratetype.write(IS["2"], MIGRATE_ISOLATE)
        _move_freepages(g, section, block, MIGRATE_MOVABLE, MIGRATE_ISOLATE)
    zone.lock.unlock(IS["2"])
    if movable:
        await drain_all_pages(g, IS["3"])
    return movable


async def unset_migratetype_isolate(g: Globals, section: Section, block: int) -> None:
    """UN: make a pageblock MOVABLE again, and its free pages allocatable.

    Kernel: mm/page_alloc.c, unset_migratetype_isolate(), v2.6.33.

    Steps of UN:
        1. LOCK zone.lock; read the migratetype; not ISOLATE: UNLOCK, done.
        2. Migratetype := MOVABLE; move its free pages to the MOVABLE list; UNLOCK.
    """
    zone = g.zones[section.nid]
    migratetype = section.migratetypes[block]
    await zone.lock.lock(UN["1"])
    if migratetype.read_in_step(UN["1"]) == MIGRATE_ISOLATE:
        await migratetype.write(UN["2"], MIGRATE_MOVABLE)
        _move_freepages(g, section, block, MIGRATE_ISOLATE, MIGRATE_MOVABLE)
    zone.lock.unlock(UN["2"])


async def undo_isolate_page_range(g: Globals, section: Section) -> None:
    """undo_isolate_page_range(): UN for every pageblock."""
    for block in range(len(section.migratetypes)):
        await unset_migratetype_isolate(g, section, block)


async def check_pages_isolated(g: Globals, section: Section) -> int:
    """CI: is every page of the block free? Returns the number of pages, or -EBUSY.

    Kernel: mm/page_isolation.c, test_pages_isolated(), v2.6.33.

    Steps of CI:
        1. Read each pageblock's migratetype, lockless; not ISOLATE: return -EBUSY.
        2. LOCK zone.lock.
        3. For each page: read its flags; PG_buddy: next page.
        4. Read its count; not 0: UNLOCK, return -EBUSY.
        5. Read its private; not ISOLATE: UNLOCK, return -EBUSY. After the last page: UNLOCK.
    """
    for migratetype in section.migratetypes:
        if await migratetype.read(CI["1"]) != MIGRATE_ISOLATE:
            return -EBUSY
    zone = g.zones[section.nid]
    await zone.lock.lock(CI["2"])
    checked = 0
    for pfn in range(section.start_pfn, section.end_pfn):
        page = g.pfn_to_page(pfn)
        if not await page.flags.test(CI["3"], PG_BUDDY):
            count = await page.count.read(CI["4"])
            if (
                g.kernel.isolated_means_buddy
                or count
                or await page.private.read(CI["5"]) != MIGRATE_ISOLATE
            ):
                zone.lock.unlock(CI["5"])
                return -EBUSY
        checked += 1
    zone.lock.unlock(CI["2"])
    return checked
