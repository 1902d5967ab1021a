# SPDX-License-Identifier: GPL-2.0-or-later
"""Copying page tables for fork. Kernel: mm/memory.c, v2.6.33; specification DU.3.

Apart from memory.py for its size. Tests: `tests/unit/test_fork.py`.
"""

from __future__ import annotations

from errno import ENOMEM
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory import vm_normal_page
from ksmtrio.mm.mm_types import MmStruct, Pte, Vma
from ksmtrio.mm.swap import get_page
from ksmtrio.mm.swapfile import mmlist_fork, swap_duplicate
from ksmtrio.sched.cell import Cell
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SHIFT, PAGES_PER_PTE_TABLE, Vaddr, Vpn

RANGE = Points(__name__, "copy_pte_range", "DU", "3.1 3.2 3.2#2 3.2#3 3.4")
ONE = Points(
    __name__,
    "copy_one_pte",
    "DU",
    "3.3 3.3/swap_duplicate 3.3/mmlist 3.3/mmlist#2 3.3a 3.3b 3.3c 3.3d 3.3e",
)

_PROGRESS_MAX: Final = 32
_PROGRESS_OF_A_COPY: Final = 8
_PROGRESS_OF_A_HOLE: Final = 1
"""The locks may be dropped after this much: four copies, or 32 empty entries."""


async def copy_page_range(g: Globals, dst_mm: MmStruct, vma: Vma) -> int:
    """Copy the ptes of a parent's vma into the child.

    Kernel: mm/memory.c, copy_page_range() and copy_pte_range(), v2.6.33. Context: both mmap_sems
    held for write; takes both pte locks, the child's first, over each page-table page.

    A vma without anon_vma is left to the child's own faults: it maps nothing but the zero page.

    Steps of DU.3:
        3.1. Read the vma's anon_vma; none: done. The child's page-table page: allocate.
        3.2. LOCK the child's pte lock, then the parent's.
        3.3. For each entry: copy_one_pte. After four copies, if somebody waits for either lock: to
             3.4.
        3.4. UNLOCK both; resched; entries left: go to 3.2.

    Returns:
        0 or -ENOMEM.
    """
    if await vma.anon_vma.read(RANGE["3.1"]) is None:
        return 0
    vpn, last = vma.vm_start >> PAGE_SHIFT, vma.vm_end >> PAGE_SHIFT
    while vpn < last:
        if g.rt.fault("enomem", RANGE["3.1"]):
            return -ENOMEM
        stop = min(last, (vpn // PAGES_PER_PTE_TABLE + 1) * PAGES_PER_PTE_TABLE)
        while vpn < stop:
            vpn = await _copy_under_locks(g, dst_mm, vma, vpn, stop)
            await g.rt.cond_resched(RANGE["3.4"])
    return 0


async def _copy_under_locks(g: Globals, dst_mm: MmStruct, vma: Vma, vpn: Vpn, stop: Vpn) -> Vpn:
    """Copy entries of one page-table page from `vpn` on; return where to go on."""
    src_mm: MmStruct = vma.vm_mm
    dst_ptl, src_ptl = (mm.ptl(vpn << PAGE_SHIFT) for mm in (dst_mm, src_mm))
    await dst_ptl.lock(RANGE["3.2"])
    await src_ptl.lock(RANGE["3.2#2"])
    progress = 0
    while vpn < stop:
        if progress >= _PROGRESS_MAX:
            progress = 0
            if src_ptl.contended or dst_ptl.contended:
                break
        src = src_mm.ptes.get(vpn)
        pte = None if src is None else await src.read(RANGE["3.2#3"])
        if src is None or pte is None or pte.none:
            progress += _PROGRESS_OF_A_HOLE
        else:
            await copy_one_pte(g, dst_mm, src_mm, src, vpn << PAGE_SHIFT)
            progress += _PROGRESS_OF_A_COPY
        vpn += 1
    src_ptl.unlock(RANGE["3.4"])
    dst_ptl.unlock(RANGE["3.4"])
    return vpn


async def copy_one_pte(
    g: Globals, dst_mm: MmStruct, src_mm: MmStruct, src: Cell[Pte], address: Vaddr
) -> None:
    """Copy one entry that is not empty; both pte locks held, the page need not be locked.

    Kernel: mm/memory.c, copy_one_pte(), v2.6.33; specification DU.3.

    Steps:
        3.3. Read the parent's entry. Swap: swap_duplicate, which cannot fail, for the parent's
             entry holds the slot. Not present: the child goes on the list its parent is on, for
             swapoff (even for a migration entry, unless `fork_lists_only_for_swap`).
        a. A migration entry of the write kind becomes one of the read kind.
        b. Present: write-protect the parent's entry.
        c. get_page. d. mapcount+1.
        e. The child's entry := the same, read-only and not young.
    """
    dst = dst_mm.pte(address)
    pte = await src.read(ONE["3.3"])
    if pte.present:
        # User accesses set bits until the entry is write-protected; the child gets those read.
        now = await src.read(ONE["3.3b"])
        src.write_in_step(ONE["3.3b"], now._replace(write=False))
        _tell(g, src_mm, dst_mm, address)
        pte = pte._replace(write=False, young=False)
        page = vm_normal_page(g, pte)
        if page is not None:
            await get_page(page, ONE["3.3c"])
            await page.mapcount.inc(ONE["3.3d"])
    else:
        if pte.swap:
            await swap_duplicate(g, pte.pfn, ONE["3.3"])
        if pte.swap or not g.kernel.fork_lists_only_for_swap:
            await mmlist_fork(g, dst_mm, src_mm, ONE["3.3"])
        if pte.migration and pte.write:
            pte = pte._replace(write=False)
            await src.write(ONE["3.3a"], pte)
        _tell(g, src_mm, dst_mm, address)
    await dst.write(ONE["3.3e"], pte)


def _tell(g: Globals, parent: MmStruct, child: MmStruct, address: Vaddr) -> None:
    for watcher in g.user_access:
        watcher.inherited(parent, child, address)
