# SPDX-License-Identifier: GPL-2.0-or-later
"""move_pages(2). Kernel: mm/migrate.c, v2.6.33; specification PM PA PS.

User arrays are sequences; one that ends too soon stands for an array that runs into memory which is
not mapped. Tests: `tests/unit/test_move_pages.py`.

Differs: every task has CAP_SYS_NICE and may move every other's pages, so that nothing answers
-EPERM.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EACCES, EBUSY, EFAULT, EINVAL, ENODEV, ENOENT, ENOMEM, ENOSYS, ESRCH
from typing import Final

import attrs

from ksmtrio.mm.fork import get_task_mm, mmput
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory import follow_page, vm_normal_page
from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, vma_migratable
from ksmtrio.mm.mempolicy_alloc import MAX_NUMNODES
from ksmtrio.mm.migrate import Target, migrate_pages, migrate_prep
from ksmtrio.mm.mm_types import MmStruct, Page, Vma, page_ksm, page_mapcount
from ksmtrio.mm.mmap import find_vma
from ksmtrio.mm.page_alloc import alloc_page, node_has_memory
from ksmtrio.mm.page_flags import PG_RESERVED
from ksmtrio.mm.swap import put_page
from ksmtrio.mm.vmscan import isolate_lru_page
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SIZE, ULONG_MASK, Nid, Vaddr

SIZEOF_PAGE_TO_NODE: Final = 24
PM_CHUNK_NR: Final = PAGE_SIZE // SIZEOF_PAGE_TO_NODE - 1
"""Entries of one chunk of do_pages_move: a page of them, less the end marker."""
DO_PAGES_STAT_CHUNK_NR: Final = 16

SYS_MOVE_PAGES = Points(__name__, "sys_move_pages", "", "1")
PM = Points(__name__, "do_pages_move", "PM", "1 2 2#2 4")
PA = Points(
    __name__,
    "do_move_page_to_node_array",
    "PA",
    "1 2.3 2.3#2 2.3/put_page 2.4/put_page 2.5 2.5/put_page 2.6/put_page "
    "3/new_page_node 3/new_page_node#2 3/new_page_node#3 4",
)
HELD = Points(__name__, "do_pages_stat_array", "", "1/put_page")
PS = Points(__name__, "do_pages_stat_array", "PS", "2 4 4#2 5 5#2 6 7")


@attrs.define(eq=False)
class PageToNode:
    """struct page_to_node: one entry of a chunk.

    Attributes:
        addr: byte address.
        node: where its page shall be.
        page: what it was found to be; None for a page that cannot be on the list.
        status: answer for the entry: a node or a negative errno.
    """

    addr: Vaddr
    node: Nid
    page: Page | None = None
    status: int = 0

    def set_status(self, result: int) -> None:
        """Take the result of an attempt to migrate the page."""
        self.status = result


async def sys_move_pages(
    g: Globals,
    mm: MmStruct,
    nr_pages: int,
    pages: Sequence[Vaddr],
    nodes: Sequence[Nid] | None,
    status: list[int],
    flags: int,
) -> int:
    """move_pages(2) on the task whose address space `mm` is or was.

    Kernel: mm/migrate.c, sys_move_pages(), v2.6.33. A user of the address space is held meanwhile:
    should the task exit, the caller tears it down.

    Args:
        nr_pages: entries to read and statuses to write.
        pages: addresses in bytes.
        nodes: a target for each; None: only tell where the pages are.
        status: written in place: a node or a negative errno per entry. Chunks that were done before
            an error have theirs, later ones keep what was there.
        flags: MPOL_MF_MOVE or MPOL_MF_MOVE_ALL.

    Returns:
        0; -EINVAL, -ESRCH, -EFAULT, -ENODEV, -EACCES or -ENOMEM. That pages did not move is no
        error. -ENOSYS without CONFIG_MIGRATION: there is no such call then.
    """
    if not g.kernel.CONFIG_MIGRATION:
        return -ENOSYS
    if flags & ~(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL):
        return -EINVAL
    if not await get_task_mm(mm, SYS_MOVE_PAGES["1"]):
        return -ESRCH
    nr_pages &= ULONG_MASK
    if nodes is None:
        err = await do_pages_stat(g, mm, nr_pages, pages, status)
    else:
        err = await do_pages_move(g, mm, nr_pages, pages, nodes, status, flags)
    await mmput(g, mm)
    return err


async def do_pages_move(
    g: Globals,
    mm: MmStruct,
    nr_pages: int,
    pages: Sequence[Vaddr],
    nodes: Sequence[Nid],
    status: list[int],
    flags: int,
) -> int:
    """PM: move pages to nodes, a chunk of entries at a time.

    Kernel: mm/migrate.c, do_pages_move(), v2.6.33; specification PM.1-4. Context: sleeps. The
    task's cpuset is the top one: it allows the nodes that had memory when the call began.

    Returns:
        0 or a negative errno; see `sys_move_pages`.
    """
    task_nodes = [nid for nid in sorted(g.zones) if await node_has_memory(g, nid, PM["1"])]
    if g.rt.fault("enomem", PM["1"]):
        return -ENOMEM
    await migrate_prep(g)
    for start in range(0, nr_pages, PM_CHUNK_NR):
        stop = min(start + PM_CHUNK_NR, nr_pages)
        chunk: list[PageToNode] = []
        for number in range(start, stop):
            await g.rt.point(PM["2"], "get_user", None)
            if number >= len(pages) or number >= len(nodes):
                return -EFAULT
            nid = nodes[number]
            if not (0 <= nid < MAX_NUMNODES and await node_has_memory(g, nid, PM["2#2"])):
                return -ENODEV
            if nid not in task_nodes:
                return -EACCES
            chunk.append(PageToNode(pages[number] & ULONG_MASK, nid))
        migrate_all = bool(flags & MPOL_MF_MOVE_ALL)
        err = await _move_page_to_node_array(g, mm, chunk, migrate_all=migrate_all)
        if err < 0:
            return err
        for number, entry in enumerate(chunk, start):
            await g.rt.point(PM["4"], "put_user", None)
            if number >= len(status):
                return -EFAULT
            status[number] = entry.status
    return 0


async def _move_page_to_node_array(
    g: Globals, mm: MmStruct, chunk: list[PageToNode], *, migrate_all: bool
) -> int:
    """PA: isolate what a chunk names, then migrate it; do_move_page_to_node_array().

    Kernel: mm/migrate.c, v2.6.33; specification PA.1-4. Context: takes mmap_sem for read, from the
    first look-up through the migration.

    Returns:
        A negative errno, or the number of pages not moved.
    """
    pages: list[Page] = []
    await mm.mmap_sem.down_read(PA["1"])
    for entry in chunk:
        page = await _isolate_one(g, mm, entry, migrate_all=migrate_all)
        if page is not None:
            pages.append(page)

    async def new_page_node(page: Page) -> Target:
        # The first entry that named the page counts, also when only a later one could isolate it.
        entry = next(entry for entry in chunk if entry.page is page)
        nids = (entry.node,)
        new = await alloc_page(g, PA["3/new_page_node"], nids=nids, thisnode=True)
        return Target(new, entry.set_status)

    err = 0
    if pages:
        offlining = not g.kernel.numa_callers_pass_zero
        err = await migrate_pages(g, pages, new_page_node, offlining=offlining)
    await mm.mmap_sem.up_read(PA["4"])
    return err


async def _isolate_one(
    g: Globals, mm: MmStruct, entry: PageToNode, *, migrate_all: bool
) -> Page | None:
    """PA.2: look one entry up; isolate its page, or set its status and return None."""
    vma = find_vma(mm, entry.addr)
    if vma is None or not vma_migratable(vma):
        entry.status = -EFAULT
        return None
    page = await follow_page(g, vma, entry.addr)
    if page is None:
        entry.status = -ENOENT
        return None
    reserved = await page.flags.test(PA["2.3"], PG_RESERVED)
    skips = g.kernel.numa_callers_skip_ksm
    if reserved or (skips and await page_ksm(page, PA["2.3#2"])):
        entry.status = -ENOENT
        await put_page(g, page, PA["2.3/put_page"])
        return None
    entry.page = page
    if page.nid == entry.node:
        entry.status = page.nid
        await put_page(g, page, PA["2.4/put_page"])
        return None
    if not migrate_all and await page_mapcount(page, PA["2.5"]) > 1:
        entry.status = -EACCES
        await put_page(g, page, PA["2.5/put_page"])
        return None
    isolated = await isolate_lru_page(g, page) == 0
    if not isolated:
        entry.status = -EBUSY
    await put_page(g, page, PA["2.6/put_page"])
    return page if isolated else None


async def do_pages_stat(
    g: Globals, mm: MmStruct, nr_pages: int, pages: Sequence[Vaddr], status: list[int]
) -> int:
    """PS: tell where pages are, 16 at a time.

    Kernel: mm/migrate.c, do_pages_stat() and do_pages_stat_array(), v2.6.33. Context: sleeps.

    Steps of PS:
        1. For each chunk of 16 addresses: copy them from the user; -EFAULT.
        2. LOCK mmap_sem for read.
        3. For each address the first vma that ends above it; none: -EFAULT.
        4. FP without a reference; nothing mapped: -ENOENT.
        5. PageReserved or PageKsm: -ENOENT. Else the page's node. (Looks without a lock: the page
           may be freed, or go KSM, between them.)
        6. UNLOCK mmap_sem.
        7. Copy the chunk's statuses to the user; -EFAULT.

    Returns:
        0 or -EFAULT.
    """
    for start in range(0, nr_pages, DO_PAGES_STAT_CHUNK_NR):
        stop = min(start + DO_PAGES_STAT_CHUNK_NR, nr_pages)
        if stop > len(pages):
            return -EFAULT
        await mm.mmap_sem.down_read(PS["2"])
        chunk = [await _stat_one(g, mm, address & ULONG_MASK) for address in pages[start:stop]]
        await mm.mmap_sem.up_read(PS["6"])
        await g.rt.point(PS["7"], "copy_to_user", None)
        fits = max(len(status) - start, 0)
        status[start:stop] = chunk[:fits]
        if fits < len(chunk):
            return -EFAULT
    return 0


async def _stat_one(g: Globals, mm: MmStruct, address: Vaddr) -> int:
    """PS.3-5. No reference is held: the page may be moved, and its memory go, before step 5."""
    vma = find_vma(mm, address)
    if vma is None:
        return -EFAULT
    if g.kernel.pages_stat_holds_the_page:
        return await _stat_held(g, vma, address)
    ptl = mm.ptl(address)
    await ptl.lock(PS["4"])
    pte = await mm.pte(address).read(PS["4#2"])
    ptl.unlock(PS["4#2"])
    page = vm_normal_page(g, pte) if pte.present else None
    return -ENOENT if page is None else await _node_of(g, page)


async def _node_of(g: Globals, page: Page) -> int:
    """PS.5: the page's node, or -ENOENT for a page that the call passes over."""
    if await page.flags.test(PS["5"], PG_RESERVED):
        return -ENOENT
    if g.kernel.numa_callers_skip_ksm and await page_ksm(page, PS["5#2"]):
        return -ENOENT
    return page.nid


async def _stat_held(g: Globals, vma: Vma, address: Vaddr) -> int:
    """PS.3-5 with the reference that the later fix takes."""
    page = await follow_page(g, vma, address)
    if page is None:
        return -ENOENT
    status = await _node_of(g, page)
    await put_page(g, page, HELD["1/put_page"])
    return status
