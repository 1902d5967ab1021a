# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking memory offline and online.

Kernel: mm/memory_hotplug.c, v2.6.33; specification OP SC DR HA' OI ON RS.

Tests: `tests/unit/test_memory_hotplug.py`, `tests/races/`.
"""

from __future__ import annotations

from errno import EAGAIN, EBUSY, EINTR, EINVAL

from ksmtrio.errors import KernelBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_hotplug import (
    MEM_CANCEL_OFFLINE,
    MEM_CANCEL_ONLINE,
    MEM_GOING_OFFLINE,
    MEM_GOING_ONLINE,
    MEM_OFFLINE,
    MEM_ONLINE,
)
from ksmtrio.mm.migrate import Target, migrate_pages
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.mmzone import MIGRATE_MOVABLE, Section
from ksmtrio.mm.page_alloc import alloc_page, drain_all_pages, free_page
from ksmtrio.mm.page_flags import PG_BUDDY, PG_LRU, PG_RESERVED
from ksmtrio.mm.page_isolation import (
    check_pages_isolated,
    start_isolate_page_range,
    undo_isolate_page_range,
)
from ksmtrio.mm.signal import signal_pending
from ksmtrio.mm.swap import lru_add_drain_all
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_pages
from ksmtrio.notifier import MemoryNotify, notifier_to_errno
from ksmtrio.sched.cell import adjust
from ksmtrio.sched.points import Points
from ksmtrio.units import Pfn

NR_OFFLINE_AT_ONCE_PAGES = 256
RETRY_MAX = 5

OP = Points(
    __name__,
    "offline_pages",
    "OP",
    "2 4 8 9 10 10/pagevec_lru_add 10/pagevec_lru_add#2 10/release_pages "
    "10/drain_all_pages 10/drain_all_pages#2 12 13 13/pagevec_lru_add 13/pagevec_lru_add#2 "
    "13/release_pages 13#2 13/drain_all_pages 13/drain_all_pages#2 17 19 23",
)
SC = Points(__name__, "scan_lru_pages", "SC", "1")
DR = Points(
    __name__,
    "do_migrate_range",
    "DR",
    "1 1#2",
)
HA_ = Points(__name__, "hotremove_migrate_alloc", "HA'", "1 1#2 1#3")
OI = Points(__name__, "__offline_isolated_pages", "OI", "1 2 2#2 3 4")
ON = Points(
    __name__,
    "online_pages",
    "ON",
    "2 2#2 2#3 3",
)
MEM_HOTPLUG = Points(__name__, "lock_memory_hotplug", "", "1 2")
RS = Points(__name__, "remove_section", "RS", "2 3")
REMOVABLE = Points(__name__, "is_mem_section_removable", "", "1 2 3")


async def lock_memory_hotplug(g: Globals, at: str) -> None:
    """lock_system_sleep(), and the lock of memory hotplug's own that later kernels take before it.

    Kernel: include/linux/suspend.h, v2.6.33: pm_mutex, or nothing without hibernation. Points: the
    caller's (pm_mutex), and one of its own.
    """
    if g.kernel.hotplug_has_a_lock or g.kernel.proposed_soft_offline_holds_off_removal:
        await g.mem_hotplug_mutex.lock(MEM_HOTPLUG["1"])
    if g.pm_mutex is not None and g.kernel.CONFIG_HIBERNATION:
        await g.pm_mutex.lock(at)


async def unlock_memory_hotplug(g: Globals, at: str) -> None:
    """unlock_system_sleep(), and the other. Points: the caller's (pm_mutex), and one."""
    if g.pm_mutex is not None and g.kernel.CONFIG_HIBERNATION:
        await g.pm_mutex.unlock(at)
    if g.kernel.hotplug_has_a_lock or g.kernel.proposed_soft_offline_holds_off_removal:
        await g.mem_hotplug_mutex.unlock(MEM_HOTPLUG["2"])


async def remove_memory(g: Globals, section: Section) -> int:
    """remove_memory(): take a block offline; -EINVAL in a kernel without CONFIG_MEMORY_HOTREMOVE.

    Kernel: mm/memory_hotplug.c, remove_memory(), v2.6.33.
    """
    if not g.kernel.CONFIG_MEMORY_HOTREMOVE:
        return -EINVAL
    return await offline_pages(g, section)


async def offline_pages(g: Globals, section: Section) -> int:
    """OP: take one memory block offline.

    Kernel: mm/memory_hotplug.c, offline_pages(), v2.6.33; specification OP.1-23. Context: runs in
    the writing task with the block's state_mutex held; sleeps; gives up after
    `g.offline_timeout_jiffies`. Differs: where a block lies in two zones, the model still has one.

    Returns:
        0 or a negative errno.
    """
    if not section.one_zone:
        return -EINVAL
    await lock_memory_hotplug(g, OP["2"])
    ret = await start_isolate_page_range(g, section)
    if ret == 0:
        arg = await _offline_notice(g, section)
        ret = notifier_to_errno(await g.memory_chain.call_chain(MEM_GOING_OFFLINE, arg))
        if ret == 0:
            ret = await _migrate_all(g, section)
        if ret == 0:
            await _offline_isolated_pages(g, section)
            await undo_isolate_page_range(g, section)
            zone = g.zones[section.nid]
            await adjust(zone.present_pages, OP["17"], -arg.nr_pages)
            await g.memory_chain.call_chain(MEM_OFFLINE, arg)
        else:
            # To all callbacks, including those that never saw MEM_GOING_OFFLINE.
            await g.memory_chain.call_chain(MEM_CANCEL_OFFLINE, arg)
            await undo_isolate_page_range(g, section)
    await unlock_memory_hotplug(g, OP["23"] if ret else OP["19"])
    return ret


async def _offline_notice(g: Globals, section: Section) -> MemoryNotify:
    """OP.4: the range, and its node if that has no other memory."""
    nr_pages = section.end_pfn - section.start_pfn
    all_there_is = await g.zones[section.nid].present_pages.read(OP["4"]) <= nr_pages
    return MemoryNotify(section.start_pfn, nr_pages, section.nid if all_there_is else -1)


async def _migrate_all(g: Globals, section: Section) -> int:
    """OP.7-14: migrate until nothing is left on an LRU, then check that everything is free."""
    drain, retry_max = False, RETRY_MAX
    expire = g.rt.jiffies() + g.offline_timeout_jiffies
    while True:
        await g.rt.cond_resched(OP["8"])
        if g.rt.jiffies() > expire or g.rt.fault("early-expiry", OP["8"]):
            return -EAGAIN
        if await signal_pending(g, OP["9"]):
            return -EINTR
        if drain:
            await lru_add_drain_all(g, OP["10"])
            await drain_all_pages(g, OP["10/drain_all_pages"])
        pfn = await scan_lru_pages(g, section)
        if pfn is None:
            break
        ret = await do_migrate_range(g, pfn, section.end_pfn)
        drain = True
        if ret < 0:
            retry_max -= 1
            if retry_max == 0:
                return ret
        if ret:
            await g.rt.yield_(OP["12"])
    await lru_add_drain_all(g, OP["13"])
    await g.rt.yield_(OP["13#2"])
    await drain_all_pages(g, OP["13/drain_all_pages"])
    return -EBUSY if await check_pages_isolated(g, section) < 0 else 0


async def scan_lru_pages(g: Globals, section: Section) -> Pfn | None:
    """SC: the first frame with PG_lru, lockless; pfn 0 can never be found, as 0 means none.

    Kernel: mm/memory_hotplug.c, scan_lru_pages(), v2.6.33. Pages that somebody else isolated, or
    that wait in a pagevec, are not seen.

    Steps of SC:
        1. For each frame of the range: read its flags; PG_lru set: return the frame.
    """
    for pfn in range(section.start_pfn, section.end_pfn):
        if await g.pfn_to_page(pfn).flags.test(SC["1"], PG_LRU):
            return pfn or None
    return None


async def do_migrate_range(g: Globals, start_pfn: Pfn, end_pfn: Pfn) -> int:
    """DR: isolate and migrate what is left in a range.

    Kernel: mm/memory_hotplug.c, do_migrate_range(), v2.6.33; specification DR.1-4.

    Returns:
        Number of pages not migrated, -EBUSY if one is in use off the LRU, or -ENOMEM.
    """
    source: list[Page] = []
    not_managed = 0
    for pfn in range(start_pfn, end_pfn):
        if len(source) >= NR_OFFLINE_AT_ONCE_PAGES:
            break
        page = g.pfn_to_page(pfn)
        if await page.count.read(DR["1"]) == 0:
            continue
        if await isolate_lru_page(g, page) == 0:
            source.append(page)
        elif await page.count.read(DR["1#2"]) != 0:
            not_managed += 1
    if not_managed:
        await putback_lru_pages(g, source)
        return -EBUSY
    if not source:
        return 0

    async def get_new_page(_: Page) -> Target:
        return Target(await hotremove_migrate_alloc(g))

    offlining = g.kernel.offline_passes_offlining
    return await migrate_pages(g, source, get_new_page, offlining=offlining)


async def hotremove_migrate_alloc(g: Globals) -> Page | None:
    """HA': a replacement from any node; never from the range, whose pageblocks are isolated.

    Kernel: mm/memory_hotplug.c, hotremove_migrate_alloc(), v2.6.33. Context: may sleep and reclaim.

    Steps of HA':
        1. Allocate a page, GFP_HIGHUSER_MOVABLE; none: return none.
    """
    return await alloc_page(g, HA_["1"])


async def _offline_isolated_pages(g: Globals, section: Section) -> None:
    """OI, __offline_isolated_pages(): take the free pages of the block off the buddy lists.

    Kernel: mm/page_alloc.c, __offline_isolated_pages(), v2.6.33.

    Steps of OI:
        1. LOCK zone.lock.
        2. For each page of the range: BUG unless its count is 0 and PG_buddy is set.
        3. Unlink it from the free list; clear PG_buddy.
        4. Set PG_reserved on it. After the last page: UNLOCK.
    """
    zone = g.zones[section.nid]
    await zone.lock.lock(OI["1"])
    for pfn in range(section.start_pfn, section.end_pfn):
        page = g.pfn_to_page(pfn)
        if await page.count.read(OI["2"]):
            raise KernelBug(OI["2"], f"BUG_ON(page_count(page)) offlining pfn {pfn}")
        if not await page.flags.test(OI["2#2"], PG_BUDDY):
            raise KernelBug(OI["2#2"], f"BUG_ON(!PageBuddy(page)) offlining pfn {pfn}")
        await page.flags.clear(OI["3"], PG_BUDDY)
        for free in zone.free_list.values():
            if page in free:
                free.remove(page)
        await page.flags.set(OI["4"], PG_RESERVED)
    zone.lock.unlock(OI["4"])


async def online_pages(g: Globals, section: Section) -> int:
    """ON: bring an offline block back. Returns 0 or the errno of a veto.

    Kernel: mm/memory_hotplug.c, online_pages(), v2.6.33; specification ON.1-4. Unlike
    offline_pages it takes no pm_mutex.
    """
    if g.kernel.hotplug_has_a_lock:
        await g.mem_hotplug_mutex.lock(MEM_HOTPLUG["1"])
    ret = await _online_pages(g, section)
    if g.kernel.hotplug_has_a_lock:
        await g.mem_hotplug_mutex.unlock(MEM_HOTPLUG["2"])
    return ret


async def _online_pages(g: Globals, section: Section) -> int:
    arg = MemoryNotify(section.start_pfn, section.end_pfn - section.start_pfn)
    ret = notifier_to_errno(await g.memory_chain.call_chain(MEM_GOING_ONLINE, arg))
    if ret:
        await g.memory_chain.call_chain(MEM_CANCEL_ONLINE, arg)
        return ret
    for pfn in range(section.start_pfn, section.end_pfn):
        page = g.pfn_to_page(pfn)
        await page.flags.clear(ON["2"], PG_RESERVED)
        await page.count.write(ON["2#2"], 1)
        if await page.count.dec_and_test(ON["2#3"]):
            await free_page(g, page)
    zone = g.zones[section.nid]
    await adjust(zone.present_pages, ON["3"], +arg.nr_pages)
    await g.memory_chain.call_chain(MEM_ONLINE, arg)
    return 0


async def is_mem_section_removable(g: Globals, section: Section) -> bool:
    """Whether all of a section looks movable or free; lockless.

    Kernel: mm/memory_hotplug.c, is_mem_section_removable(), v2.6.33. Touches struct pages, also
    those of a section that is offline, whose first page is reserved.

    Steps, for each pageblock:
        1. Read its migratetype. MOVABLE: go to 3.
        2. Read whether its first page begins a free chunk as large as the pageblock; no: return no.
        3. Read the flags of its first page; PG_reserved: return no.

    Without CONFIG_MEMORY_HOTREMOVE nothing is.
    """
    if not g.kernel.CONFIG_MEMORY_HOTREMOVE:
        return False
    for pfn in range(section.start_pfn, section.end_pfn, section.pageblock_nr_pages):
        migratetype = await section.pageblock_of(pfn).read(REMOVABLE["1"])
        pages = [g.pfn_to_page(pfn + n) for n in range(section.pageblock_nr_pages)]
        if migratetype != MIGRATE_MOVABLE:
            # The buddy allocator joins free pages: the chunk is that large iff all are free.
            await g.rt.point(REMOVABLE["2"], "page_order", pages[0].flags)
            if not all(p.flags.read_in_step(REMOVABLE["2"]) & PG_BUDDY for p in pages):
                return False
        if await pages[0].flags.test(REMOVABLE["3"], PG_RESERVED):
            return False
    return True


async def remove_section(g: Globals, section: Section) -> None:
    """RS.2-3: free the memmap of an offline section; its struct pages are gone from here on."""
    await section.valid.write(RS["2"], False)
    await g.rt.point(RS["3"], "free_section_usemap", section.valid)
    for pfn in range(section.start_pfn, section.end_pfn):
        g.pfn_to_page(pfn).die("removed", RS["3"])
