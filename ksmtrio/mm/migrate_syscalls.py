# SPDX-License-Identifier: GPL-2.0-or-later
"""move_pages(2). Kernel: mm/migrate.c, v2.6.33; specification PM PA PS.

Tests: `tests/unit/test_move_pages.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EACCES, EBUSY, EFAULT, ENODEV, ENOENT

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory import follow_page, vm_normal_page
from ksmtrio.mm.migrate import Target, migrate_pages, migrate_prep
from ksmtrio.mm.mm_types import MmStruct, Page, page_ksm, page_mapcount
from ksmtrio.mm.mmap import find_vma
from ksmtrio.mm.page_alloc import alloc_page, node_has_memory
from ksmtrio.mm.page_flags import PG_RESERVED
from ksmtrio.mm.swap import put_page
from ksmtrio.mm.vmscan import isolate_lru_page
from ksmtrio.sched.points import Points
from ksmtrio.units import Nid, Vaddr

PM = Points(__name__, "do_pages_move", "PM", "2")
PA = Points(
    __name__,
    "do_move_page_to_node_array",
    "PA",
    "1 2.3 2.3#2 2.3/put_page 2.4/put_page 2.5 2.5/put_page 2.6/put_page "
    "3/new_page_node 3/new_page_node#2 3/new_page_node#3 4",
)
PS = Points(__name__, "do_pages_stat_array", "PS", "1 2 3 4 5 6")


async def do_pages_move(
    g: Globals, mm: MmStruct, entries: Sequence[tuple[Vaddr, Nid]], *, migrate_all: bool
) -> tuple[int, list[int]]:
    """PM: move pages to nodes. Differs: one chunk holds all entries.

    Kernel: mm/migrate.c, do_pages_move(), v2.6.33; specification PM.1-4.

    Args:
        entries: (address in bytes, target node).
        migrate_all: MPOL_MF_MOVE_ALL: also pages mapped more than once.

    Returns:
        (0 or a negative errno, statuses: a node or a negative errno per entry; empty on error).
    """
    await migrate_prep(g)
    for _, nid in entries:
        if not await node_has_memory(g, nid, PM["2"]):
            return -ENODEV, []
    status = [0] * len(entries)
    err = await _move_page_to_node_array(g, mm, entries, status, migrate_all=migrate_all)
    return (err, []) if err < 0 else (0, status)


async def _move_page_to_node_array(
    g: Globals,
    mm: MmStruct,
    entries: Sequence[tuple[Vaddr, Nid]],
    status: list[int],
    *,
    migrate_all: bool,
) -> int:
    """PA: do_move_page_to_node_array(). Returns a negative errno or the number not moved."""
    pages: list[Page] = []
    owner: dict[Page, int] = {}
    await mm.mmap_sem.down_read(PA["1"])
    for number, (address, nid) in enumerate(entries):
        page = await _isolate_one(
            g, mm, address, nid, status, number, owner, migrate_all=migrate_all
        )
        if page is not None:
            pages.append(page)

    async def new_page_node(page: Page) -> Target:
        number = owner[page]

        def set_status(result: int) -> None:
            status[number] = result

        new = await alloc_page(g, PA["3/new_page_node"], nids=(entries[number][1],))
        return Target(new, set_status)

    err = 0
    if pages:
        offlining = not g.kernel.numa_callers_pass_zero
        err = await migrate_pages(g, pages, new_page_node, offlining=offlining)
    await mm.mmap_sem.up_read(PA["4"])
    return err


async def _isolate_one(
    g: Globals,
    mm: MmStruct,
    address: Vaddr,
    nid: Nid,
    status: list[int],
    number: int,
    owner: dict[Page, int],
    *,
    migrate_all: bool,
) -> Page | None:
    """PA.2: look one entry up; isolate its page, or set its status and return None.

    `owner` remembers the first entry that named each page: its node and its status slot are used
    for the migration, also when only a later entry could isolate the page.
    """
    vma = find_vma(mm, address)
    if vma is None:
        status[number] = -EFAULT
        return None
    page = await follow_page(g, vma, address)
    if page is None:
        status[number] = -ENOENT
        return None
    reserved = await page.flags.test(PA["2.3"], PG_RESERVED)
    skips = g.kernel.numa_callers_skip_ksm
    if reserved or (skips and await page_ksm(page, PA["2.3#2"])):
        status[number] = -ENOENT
        await put_page(g, page, PA["2.3/put_page"])
        return None
    owner.setdefault(page, number)
    if page.nid == nid:
        status[number] = nid
        await put_page(g, page, PA["2.4/put_page"])
        return None
    if not migrate_all and await page_mapcount(page, PA["2.5"]) > 1:
        status[number] = -EACCES
        await put_page(g, page, PA["2.5/put_page"])
        return None
    isolated = await isolate_lru_page(g, page) == 0
    if not isolated:
        status[number] = -EBUSY
    await put_page(g, page, PA["2.6/put_page"])
    return page if isolated else None


async def do_pages_stat(g: Globals, mm: MmStruct, addresses: Sequence[Vaddr]) -> list[int]:
    """PS: the node of each page, or a negative errno. Differs: one chunk holds all addresses."""
    await mm.mmap_sem.down_read(PS["1"])
    status = [await _stat_one(g, mm, address) for address in addresses]
    await mm.mmap_sem.up_read(PS["6"])
    return status


async def _stat_one(g: Globals, mm: MmStruct, address: Vaddr) -> int:
    vma = find_vma(mm, address)
    if vma is None:
        return -EFAULT
    ptl = mm.ptl(address)
    await ptl.lock(PS["2"])
    pte = await mm.pte(address).read(PS["3"])
    ptl.unlock(PS["3"])
    page = vm_normal_page(g, pte) if pte.present else None
    if page is None or await page.flags.test(PS["4"], PG_RESERVED):
        return -ENOENT
    if g.kernel.numa_callers_skip_ksm and await page_ksm(page, PS["5"]):
        return -ENOENT
    return page.nid
