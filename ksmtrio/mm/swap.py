# SPDX-License-Identifier: GPL-2.0-or-later
"""Pagevecs and put_page(). Kernel: mm/swap.c, v2.6.33; specification objects 1.5, PF.1.

A page in a pagevec carries a reference: this is what keeps ksmd from merging freshly faulted pages
and a page whose last mapping went away from being freed. Tests: `tests/unit/test_swap.py`.
"""

from __future__ import annotations

from ksmtrio.errors import VmBug
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, LRU_LISTS, LRU_UNEVICTABLE, PAGEVEC_SIZE, PerCpu
from ksmtrio.mm.page_alloc import free_page
from ksmtrio.mm.page_flags import PG_ACTIVE, PG_LRU, PG_REFERENCED, PG_UNEVICTABLE


async def get_page(page: Page, at: str) -> None:
    """get_page(): legal only when the caller knows that the count is not 0."""
    await page.count.inc(at)


async def put_page(g: Globals, page: Page, at: str) -> None:
    """put_page(): drop a reference; at 0 the page is freed in further steps (PF.2 on)."""
    if await page.count.dec_and_test(at):
        await free_page(g, page)


async def lru_cache_add_lru(g: Globals, page: Page, lru: str, at: str) -> None:
    """Put a page, with a reference, into this CPU's pagevec for an LRU list.

    Points: ``/lru_cache_add`` (reference), and those of a drain when the pagevec is full.
    """
    await get_page(page, f"{at}/lru_cache_add")
    pagevec = g.this_cpu.lru_add[lru]
    pagevec.append(page)
    if not g.pagevecs or len(pagevec) >= PAGEVEC_SIZE:
        await _pagevec_lru_add(g, g.this_cpu, lru, at)


async def add_page_to_unevictable_list(g: Globals, page: Page, at: str) -> None:
    """Put a page straight onto the unevictable list."""
    zone = g.zone_of(page)
    await zone.lru_lock.lock(at)
    await page.flags.set(f"{at}#2", PG_LRU)
    page.flags.change_in_step(at, set_=PG_UNEVICTABLE)
    zone.lru_list[LRU_UNEVICTABLE].append(page)
    zone.lru_lock.unlock(at)


async def _pagevec_lru_add(g: Globals, cpu: PerCpu, lru: str, at: str) -> None:
    """____pagevec_lru_add(): move a CPU's pagevec to the LRU list, then drop its references."""
    cpu.worker = g.rt.me
    pages = list(cpu.lru_add[lru])
    cpu.lru_add[lru].clear()
    cpu.worker = None
    for page in pages:
        zone = g.zone_of(page)
        await zone.lru_lock.lock(f"{at}/pagevec_lru_add")
        if await page.flags.test_and_set(f"{at}/pagevec_lru_add#2", PG_LRU):
            raise VmBug(at, f"VM_BUG_ON(PageLRU) in pagevec_lru_add, pfn {page.pfn}")
        if lru == LRU_ACTIVE_ANON:
            page.flags.change_in_step(at, set_=PG_ACTIVE)
        zone.lru_list[lru].append(page)
        zone.lru_lock.unlock(at)
    for page in pages:
        await put_page(g, page, f"{at}/release_pages")


async def activate_page(g: Globals, page: Page, at: str) -> None:
    """activate_page(): move a listed page to the active list."""
    zone = g.zone_of(page)
    await zone.lru_lock.lock(f"{at}/activate_page")
    flags = page.flags.read_in_step(at)
    if flags & PG_LRU and not flags & (PG_ACTIVE | PG_UNEVICTABLE):
        for pages in zone.lru_list.values():
            if page in pages:
                pages.remove(page)
        page.flags.change_in_step(at, set_=PG_ACTIVE)
        zone.lru_list[LRU_ACTIVE_ANON].append(page)
    zone.lru_lock.unlock(at)


async def mark_page_accessed(g: Globals, page: Page, at: str) -> None:
    """mark_page_accessed(): the first time sets PG_referenced, the second activates the page.

    Points: ``/mark_page_accessed`` (flags), ``#2`` (PG_referenced), ``/activate_page``.
    """
    mine = f"{at}/mark_page_accessed"
    flags = await page.flags.read(mine)
    if not flags & PG_REFERENCED:
        await page.flags.set(f"{mine}#2", PG_REFERENCED)
    elif flags & PG_LRU and not flags & (PG_ACTIVE | PG_UNEVICTABLE):
        await activate_page(g, page, at)
        await page.flags.clear(f"{mine}#2", PG_REFERENCED)


async def lru_add_drain(g: Globals, at: str, cpu: PerCpu | None = None) -> None:
    """lru_add_drain(): empty the pagevecs of one CPU, by default the current one."""
    cpu = g.this_cpu if cpu is None else cpu
    await g.rt.point(at, "lru_add_drain", None)
    for lru in LRU_LISTS:
        await _pagevec_lru_add(g, cpu, lru, at)


async def lru_add_drain_all(g: Globals, at: str) -> None:
    """lru_add_drain_all(): have every CPU empty its pagevecs, and sleep until they have."""
    await g.rt.sleep(at)
    for cpu in g.per_cpu:
        await lru_add_drain(g, at, cpu)
