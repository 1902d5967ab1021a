# SPDX-License-Identifier: GPL-2.0-or-later
"""madvise(2). Kernel: mm/madvise.c, v2.6.33. Tests: `tests/unit/test_madvise.py`."""

from __future__ import annotations

from errno import EAGAIN, EBADF, EINVAL, ENOMEM
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm import MADV_MERGEABLE, MADV_UNMERGEABLE, ksm_madvise
from ksmtrio.mm.memory import zap_page_range
from ksmtrio.mm.mm_types import (
    VM_DONTCOPY,
    VM_HUGETLB,
    VM_IO,
    VM_LOCKED,
    VM_PFNMAP,
    VM_RAND_READ,
    VM_SEQ_READ,
    MmStruct,
    Vma,
)
from ksmtrio.mm.mmap import find_vma, split_to_range
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SIZE, ULONG_MASK, Vaddr, page_align

MADV_NORMAL: Final = 0
MADV_RANDOM: Final = 1
MADV_SEQUENTIAL: Final = 2
MADV_WILLNEED: Final = 3
MADV_DONTNEED: Final = 4
MADV_REMOVE: Final = 9
MADV_DONTFORK: Final = 10
MADV_DOFORK: Final = 11

MADVISE = Points(__name__, "sys_madvise", "", "1 1#2 2 2#2")

_FLAGS: Final = {
    MADV_NORMAL: (0, VM_RAND_READ | VM_SEQ_READ),
    MADV_RANDOM: (VM_RAND_READ, VM_SEQ_READ),
    MADV_SEQUENTIAL: (VM_SEQ_READ, VM_RAND_READ),
    MADV_DONTFORK: (VM_DONTCOPY, 0),
    MADV_DOFORK: (0, VM_DONTCOPY),
}
"""Advice -> flags that it sets, flags that it clears."""

_READERS: Final = (MADV_REMOVE, MADV_WILLNEED, MADV_DONTNEED)
_KSM: Final = (MADV_MERGEABLE, MADV_UNMERGEABLE)
_VALID: Final = (*_FLAGS, *_READERS)


def madvise_behavior_valid(g: Globals, advice: int) -> bool:
    """madvise_behavior_valid(): does this kernel know the advice? KSM's only if it has KSM."""
    return advice in _VALID or (g.kernel.CONFIG_KSM and advice in _KSM)


async def sys_madvise(g: Globals, mm: MmStruct, start: Vaddr, length: int, advice: int) -> int:
    """madvise(2). Context: takes mmap_sem, for read if no flag can change, else for write; sleeps.

    Returns:
        0; -EINVAL for the arguments, or from a vma; -ENOMEM for holes, after all that is mapped;
        -EAGAIN for memory; -EBADF, -ERESTARTSYS from a vma. An error of a vma ends the call.
    """
    start, length = start & ULONG_MASK, length & ULONG_MASK
    if not madvise_behavior_valid(g, advice):
        return -EINVAL
    if advice in _READERS:
        await mm.mmap_sem.down_read(MADVISE["1"])
    else:
        await mm.mmap_sem.down_write(MADVISE["1#2"])
    end = start + page_align(length)
    if start % PAGE_SIZE or (length and end == start) or end > ULONG_MASK:
        err = -EINVAL
    else:
        err = await _advise_range(g, mm, start, end, advice)
    if advice in _READERS:
        await mm.mmap_sem.up_read(MADVISE["2"])
    else:
        await mm.mmap_sem.up_write(MADVISE["2#2"])
    return err


async def _advise_range(g: Globals, mm: MmStruct, start: Vaddr, end: Vaddr, advice: int) -> int:
    """Go over the vmas of a range, ignoring holes but for the answer."""
    holes = False
    while start < end:
        vma = find_vma(mm, start)
        if vma is None or vma.vm_start >= end:
            return -ENOMEM
        holes = holes or start < vma.vm_start
        start, stop = max(start, vma.vm_start), min(vma.vm_end, end)
        err = await madvise_vma(g, vma, start, stop, advice)
        if err:
            return err
        start = stop
    return -ENOMEM if holes else 0


async def madvise_vma(g: Globals, vma: Vma, start: Vaddr, end: Vaddr, advice: int) -> int:
    """madvise_vma(): advice on a part of one vma, which has no file. Returns 0 or an error."""
    if advice == MADV_WILLNEED:
        return -EBADF
    if advice == MADV_REMOVE:
        return -EINVAL
    if advice == MADV_DONTNEED:
        if vma.vm_flags & (VM_LOCKED | VM_HUGETLB | VM_PFNMAP):
            return -EINVAL
        await zap_page_range(g, vma, start, end)
        return 0
    return await madvise_behavior(g, vma, start, end, advice)


async def madvise_behavior(g: Globals, vma: Vma, start: Vaddr, end: Vaddr, advice: int) -> int:
    """madvise_behavior(): advice that is kept in vm_flags; mmap_sem held for write."""
    if advice in _KSM:
        err, flags = await ksm_madvise(g, vma, start, end, advice=advice)
        if err:
            return -EAGAIN if err == -ENOMEM else err
    else:
        if advice == MADV_DOFORK and vma.vm_flags & VM_IO:
            return -EINVAL
        set_, clear = _FLAGS[advice]
        flags = (vma.vm_flags | set_) & ~clear
    if flags != vma.vm_flags:
        part = await split_to_range(g, vma, start, end)
        if part is None:
            return -EAGAIN
        part.vm_flags = flags
    return 0
