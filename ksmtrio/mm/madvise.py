# SPDX-License-Identifier: GPL-2.0-or-later
"""madvise(2) for KSM's advice. Kernel: mm/madvise.c, v2.6.33. Tests: `tests/unit/test_ksm.py`."""

from __future__ import annotations

from errno import EAGAIN, ENOMEM

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm import MADV_MERGEABLE, MADV_UNMERGEABLE, ksm_madvise
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.mm.mmap import vmas_cut_to
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

MADVISE = Points(__name__, "sys_madvise", "", "1 2")


def madvise_behavior_valid(g: Globals, advice: int) -> bool:
    """madvise_behavior_valid(): does this kernel know the advice? KSM's only if it has KSM."""
    return g.kernel.CONFIG_KSM and advice in (MADV_MERGEABLE, MADV_UNMERGEABLE)


async def sys_madvise(g: Globals, mm: MmStruct, start: Vaddr, end: Vaddr, *, advice: int) -> int:
    """MADV_MERGEABLE and MADV_UNMERGEABLE over a page-aligned range; mmap_sem for write.

    Returns:
        0 or a negative errno: -ENOMEM for holes (the mapped parts are done), -EAGAIN for memory.
    """
    await mm.mmap_sem.down_write(MADVISE["1"])
    position, holes, err = start, False, 0
    for vma in mm.vmas:
        low, high = max(vma.vm_start, start), min(vma.vm_end, end)
        if low >= high:
            continue
        holes = holes or low > position
        err, flags = await ksm_madvise(g, vma, low, high, advice=advice)
        if err:
            break
        if flags != vma.vm_flags:
            for part in await vmas_cut_to(g, mm, low, high):
                part.vm_flags = flags
        position = high
    holes = holes or (err == 0 and position < end)
    await mm.mmap_sem.up_write(MADVISE["2"])
    if err:
        return -EAGAIN if err == -ENOMEM else err
    return -ENOMEM if holes else 0
