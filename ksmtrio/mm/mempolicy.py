# SPDX-License-Identifier: GPL-2.0-or-later
"""mbind(2). Kernel: mm/mempolicy.c, v2.6.33; specification CP CR MB.

Tests: `tests/unit/test_mempolicy.py`.

migrate_pages(2) and numa_maps (MG DM, CP's STATS) come with the whole kernel.
"""

from __future__ import annotations

from collections.abc import Collection
from errno import EFAULT, EINVAL, EIO
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory import vm_normal_page
from ksmtrio.mm.migrate import Target, migrate_pages, migrate_prep
from ksmtrio.mm.mm_types import MmStruct, Page, Vma, page_ksm, page_mapcount
from ksmtrio.mm.mmap import vmas_cut_to
from ksmtrio.mm.page_alloc import alloc_page, node_has_memory
from ksmtrio.mm.page_flags import PG_RESERVED
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_pages
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE, PAGES_PER_PTE_TABLE, Nid, Vaddr

MPOL_MF_STRICT: Final = 1
MPOL_MF_MOVE: Final = 2
MPOL_MF_MOVE_ALL: Final = 4
_VALID_FLAGS: Final = MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL

CP = Points(__name__, "check_pte_range", "CP", "1 2 3 3#2 5")
MB = Points(__name__, "do_mbind", "MB", "3 3#2 6/new_vma_page 6/new_vma_page#2 6/new_vma_page#3 8")


async def do_mbind(
    g: Globals, mm: MmStruct, start: Vaddr, length: int, nodes: Collection[Nid], flags: int
) -> int:
    """mbind(MPOL_BIND): bind a range to nodes, and move or check the pages in it.

    Kernel: mm/mempolicy.c, do_mbind(), v2.6.33; specification MB.1-8. Holds mmap_sem for write from
    the check through the migration.

    Args:
        start: byte address, page aligned.
        length: bytes, rounded up to pages.
        nodes: node numbers; those without memory do not count, and one must be left.
        flags: MPOL_MF_* bits.

    Returns:
        0, -EINVAL, -EFAULT or -EIO.
    """
    end = start + ((length + PAGE_SIZE - 1) & -PAGE_SIZE)
    if flags & ~_VALID_FLAGS or start % PAGE_SIZE or end < start:
        return -EINVAL
    if end == start:
        return 0
    if not nodes:
        return -EINVAL
    moving = bool(flags & (MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
    if moving:
        await migrate_prep(g)
    await mm.mmap_sem.down_write(MB["3"])
    usable = [nid for nid in sorted(nodes) if await node_has_memory(g, nid, MB["3#2"])]
    pages: list[Page] = []
    err = await check_range(g, mm, start, end, nodes, flags, pages) if usable else -EINVAL
    if err:
        await putback_lru_pages(g, pages)
    else:
        err = await _apply_and_move(g, mm, start, end, usable, flags, pages)
    await mm.mmap_sem.up_write(MB["8"])
    return err


async def _apply_and_move(
    g: Globals,
    mm: MmStruct,
    start: Vaddr,
    end: Vaddr,
    nodes: Collection[Nid],
    flags: int,
    pages: list[Page],
) -> int:
    """MB.5-7: set the policy, then migrate what check_range isolated."""
    vmas = await vmas_cut_to(g, mm, start, end)
    for vma in vmas:
        vma.vm_policy = tuple(sorted(nodes))
    if not pages:
        return 0

    async def new_vma_page(_: Page) -> Target:
        return Target(await alloc_page(g, MB["6/new_vma_page"], nids=vmas[0].vm_policy))

    offlining = not g.kernel.numa_callers_pass_zero
    nr_failed = await migrate_pages(g, pages, new_vma_page, offlining=offlining)
    return -EIO if nr_failed and flags & MPOL_MF_STRICT else 0


async def check_range(
    g: Globals,
    mm: MmStruct,
    start: Vaddr,
    end: Vaddr,
    nodes: Collection[Nid],
    flags: int,
    pages: list[Page],
) -> int:
    """CR: walk the vmas of a range, isolating or checking misplaced pages.

    Kernel: mm/mempolicy.c, check_range() with MPOL_MF_INVERT, v2.6.33.

    Returns:
        0, -EFAULT for a range that is not contiguously mapped, -EIO for a page STRICT refuses.
    """
    after = [vma for vma in mm.vmas if vma.vm_end > start]
    if not after:
        return -EFAULT
    previous: Vma | None = None
    for vma in after:
        if vma.vm_start >= end:
            break
        if vma is after[-1] and vma.vm_end < end:
            return -EFAULT
        if previous is not None and previous.vm_end < vma.vm_start:
            return -EFAULT
        previous = vma
        low, high = max(vma.vm_start, start), min(vma.vm_end, end)
        if flags and await check_pte_range(g, vma, low, high, nodes, flags, pages):
            return -EIO
    return 0


async def check_pte_range(
    g: Globals,
    vma: Vma,
    start: Vaddr,
    end: Vaddr,
    nodes: Collection[Nid],
    flags: int,
    pages: list[Page],
) -> bool:
    """CP: look at each pte of a range under one pte lock.

    Kernel: mm/mempolicy.c, check_pte_range(), v2.6.33; specification CP.1-5.

    Returns:
        Whether a misplaced page stopped the walk (STRICT without MOVE).
    """
    mm = vma.vm_mm
    vpn, last = start >> PAGE_SHIFT, end >> PAGE_SHIFT
    while vpn < last:
        stop = min(last, (vpn // PAGES_PER_PTE_TABLE + 1) * PAGES_PER_PTE_TABLE)
        ptl = mm.ptl(vpn << PAGE_SHIFT)
        await ptl.lock(CP["1"])
        for number in list(mm.ptes.irange(vpn, stop, inclusive=(True, False))):
            pte = await mm.ptes[number].read(CP["2"])
            page = vm_normal_page(g, pte) if pte.present else None
            if page is None or not await _misplaced(g, page, nodes):
                continue
            if not flags & (MPOL_MF_MOVE | MPOL_MF_MOVE_ALL):
                ptl.unlock(CP["2"])
                return True
            await _migrate_page_add(g, page, pages, flags)
        ptl.unlock(CP["1"])
        vpn = stop
    return False


async def _misplaced(g: Globals, page: Page, nodes: Collection[Nid]) -> bool:
    """CP.3-4: a page that may be moved and lies off the mask's nodes."""
    if await page.flags.test(CP["3"], PG_RESERVED):
        return False
    if g.kernel.numa_callers_skip_ksm and await page_ksm(page, CP["3#2"]):
        return False
    # test_bit() of a set bit gives -1 there, which compares unequal to the 1 of the INVERT flag.
    return g.kernel.node_isset_returns_minus_one or page.nid not in nodes


async def _migrate_page_add(g: Globals, page: Page, pages: list[Page], flags: int) -> None:
    """migrate_page_add(): isolate the page unless others map it too."""
    alone = flags & MPOL_MF_MOVE_ALL or await page_mapcount(page, CP["5"]) == 1
    if alone and await isolate_lru_page(g, page) == 0:
        pages.append(page)
