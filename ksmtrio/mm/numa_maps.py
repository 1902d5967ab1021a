# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/numa_maps. Kernel: mm/mempolicy.c and fs/proc/task_mmu.c, v2.6.33.

KSM pages are absent from the statistics, as CP.3 passes over them. Tests:
`tests/unit/test_numa_maps.py`.

Differs: the file is read in one piece, where the kernel drops mmap_sem between two pages of text;
no vma is file, heap or stack.
"""

from __future__ import annotations

from errno import ESRCH

import attrs

from ksmtrio.mm.fork import get_task_mm, mmput
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mempolicy import MPOL_MF_STATS, check_pgd_range
from ksmtrio.mm.mempolicy_alloc import mpol_to_str
from ksmtrio.mm.mm_types import VM_HUGETLB, MmStruct, Page, Vma, page_anon, page_mapcount
from ksmtrio.mm.page_alloc import node_has_memory
from ksmtrio.mm.page_flags import (
    PG_ACTIVE,
    PG_DIRTY,
    PG_SWAPCACHE,
    PG_UNEVICTABLE,
    PG_WRITEBACK,
)
from ksmtrio.sched.points import Points
from ksmtrio.units import Nid

GATHER = Points(__name__, "gather_stats", "", "1 2 3 4 5 6 7")
SHOW = Points(__name__, "show_numa_map", "", "1 2 3 4")


@attrs.define(eq=False)
class NumaMaps:
    """struct numa_maps: what one vma maps, counted in pages."""

    pages: int = 0
    anon: int = 0
    active: int = 0
    writeback: int = 0
    mapcount_max: int = 0
    dirty: int = 0
    swapcache: int = 0
    node: dict[Nid, int] = attrs.field(factory=dict)

    async def gather_stats(self, page: Page, *, pte_dirty: bool) -> None:
        """gather_stats(): count a page, by racy looks at its words; pte lock held."""
        mapcount = await page_mapcount(page, GATHER["1"])
        self.pages += 1
        if pte_dirty or await page.flags.test(GATHER["2"], PG_DIRTY):
            self.dirty += 1
        if await page.flags.test(GATHER["3"], PG_SWAPCACHE):
            self.swapcache += 1
        if await page.flags.test(GATHER["4"], PG_ACTIVE) or await page.flags.test(
            GATHER["5"], PG_UNEVICTABLE
        ):
            self.active += 1
        if await page.flags.test(GATHER["6"], PG_WRITEBACK):
            self.writeback += 1
        if await page_anon(page, GATHER["7"]):
            self.anon += 1
        self.mapcount_max = max(self.mapcount_max, mapcount)
        self.node[page.nid] = self.node.get(page.nid, 0) + 1


async def read_numa_maps(g: Globals, mm: MmStruct) -> tuple[int, str]:
    """Read the numa_maps file of the task whose address space `mm` is or was.

    Kernel: fs/proc/task_mmu.c, m_start(), m_next() and m_stop(), v2.6.33. Context: takes mmap_sem
    for read; sleeps.

    Returns:
        (0, one line a vma), or (-ESRCH, "") when the task is gone.
    """
    if not await get_task_mm(mm, SHOW["1"]):
        return -ESRCH, ""
    await mm.mmap_sem.down_read(SHOW["2"])
    lines = [await show_numa_map(g, vma) for vma in mm.vmas]
    await mm.mmap_sem.up_read(SHOW["4"])
    await mmput(g, mm)
    return 0, "".join(lines)


async def show_numa_map(g: Globals, vma: Vma) -> str:
    """show_numa_map(): one vma's line: start, policy, and what is not 0 of the statistics.

    Kernel: mm/mempolicy.c, v2.6.33. Context: mmap_sem held.
    """
    text = f"{vma.vm_start:08x} {mpol_to_str(vma.vm_policy)}"
    md = NumaMaps()
    if vma.vm_flags & VM_HUGETLB:
        text += " huge"
    else:
        await check_pgd_range(g, vma, vma.vm_start, vma.vm_end, None, MPOL_MF_STATS, md)
    if not md.pages:
        return f"{text}\n"
    fields = {
        "anon": md.anon,
        "dirty": md.dirty,
        "mapped": md.pages if md.pages not in (md.anon, md.dirty) else 0,
        "mapmax": md.mapcount_max if md.mapcount_max > 1 else 0,
        "swapcache": md.swapcache,
    }
    text += "".join(f" {name}={count}" for name, count in fields.items() if count)
    if md.active < md.pages:
        # Shown even when it is 0, unlike the others.
        text += f" active={md.active}"
    if md.writeback:
        text += f" writeback={md.writeback}"
    for nid in sorted(g.zones):
        if await node_has_memory(g, nid, SHOW["3"]) and md.node.get(nid):
            text += f" N{nid}={md.node[nid]}"
    return f"{text}\n"
