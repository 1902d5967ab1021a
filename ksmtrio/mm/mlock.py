# SPDX-License-Identifier: GPL-2.0-or-later
"""mlock(2) and munlock(2). Kernel: mm/mlock.c, v2.6.33; specification ML.

Differs: RLIMIT_MEMLOCK and CAP_IPC_LOCK are not modelled, every task may lock all it has. Tests:
`tests/unit/test_mlock.py`.
"""

from __future__ import annotations

from errno import EAGAIN, EFAULT, EINVAL, ENOMEM

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mlock_pages import mlock_pages, munlock_vma_pages_range
from ksmtrio.mm.mm_types import (
    VM_DONTEXPAND,
    VM_HUGETLB,
    VM_IO,
    VM_LOCKED,
    VM_PFNMAP,
    VM_RESERVED,
    MmStruct,
    Vma,
)
from ksmtrio.mm.mmap import find_vma, split_to_range
from ksmtrio.mm.swap import lru_add_drain_all
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SIZE, ULONG_MASK, Vaddr, page_align

MLOCK = Points(
    __name__,
    "sys_mlock",
    "ML",
    "1 1/pagevec_lru_add 1/pagevec_lru_add#2 1/release_pages 2 8",
)
MUNLOCK = Points(__name__, "sys_munlock", "ML", "2 8")


async def sys_mlock(g: Globals, mm: MmStruct, start: Vaddr, length: int) -> int:
    """ML: fault the pages of a range in and keep them in memory; and its opposite, munlock.

    Kernel: mm/mlock.c, v2.6.33. Context: takes mmap_sem for write; sleeps.

    Steps of ML:
        1. mlock: lru_add_drain_all.
        2. LOCK mmap_sem for write. Cut the vmas to the range; for each:
        3. mlock: set VM_LOCKED; fault up to 16 pages in, by a write fault if the vma is writable,
           so that a KSM page is replaced by a copy. A page that cannot be had ends the call.
        4. Drain this CPU's pagevecs.
        5. For each of these pages, unless it has no mapping (any more): LOCK it; set PG_mlocked;
           if that was clear, and it can be isolated, put it back, which takes it to the unevictable
           list; UNLOCK. Drop its reference. Pages left: go to 3.
        6. munlock: drain this CPU's pagevecs; clear VM_LOCKED.
        7. For each page that is mapped, unless it has no mapping: LOCK it; clear PG_mlocked; if
           that was set, and it can be isolated: another VM_LOCKED vma that maps it makes it mlocked
           again (try_to_munlock); put it back. UNLOCK; drop the reference.
        8. UNLOCK mmap_sem.

    Returns:
        0, -EINVAL, -ENOMEM (holes; the parts before are locked), -EAGAIN (memory), -ERESTARTSYS.
    """
    await lru_add_drain_all(g, MLOCK["1"])
    await mm.mmap_sem.down_write(MLOCK["2"])
    err = await do_mlock(g, mm, start, length, on=True)
    await mm.mmap_sem.up_write(MLOCK["8"])
    return err


async def sys_munlock(g: Globals, mm: MmStruct, start: Vaddr, length: int) -> int:
    """munlock(2). Steps and return value as of `sys_mlock`."""
    await mm.mmap_sem.down_write(MUNLOCK["2"])
    err = await do_mlock(g, mm, start, length, on=False)
    await mm.mmap_sem.up_write(MUNLOCK["8"])
    return err


async def do_mlock(g: Globals, mm: MmStruct, start: Vaddr, length: int, *, on: bool) -> int:
    """do_mlock(): go over the vmas of a range, until the first hole. Any `start` will do."""
    start &= ULONG_MASK
    length = page_align((length & ULONG_MASK) + start % PAGE_SIZE)
    start -= start % PAGE_SIZE
    end = (start + length) & ULONG_MASK
    if end < start:
        return -EINVAL
    while start < end:
        vma = find_vma(mm, start)
        if vma is None or vma.vm_start > start:
            return -ENOMEM
        stop = min(vma.vm_end, end)
        err = await mlock_fixup(g, vma, start, stop, on=on)
        if err:
            return err
        start = stop
    return 0


async def mlock_fixup(g: Globals, vma: Vma, start: Vaddr, end: Vaddr, *, on: bool) -> int:
    """mlock_fixup(): change VM_LOCKED of a part of a vma. Returns 0 or a negative errno."""
    unlockable = VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_RESERVED | VM_HUGETLB
    if bool(vma.vm_flags & VM_LOCKED) == on or vma.vm_flags & unlockable:
        return 0
    part = await split_to_range(g, vma, start, end)
    if part is None:
        return -ENOMEM
    if not on:
        await munlock_vma_pages_range(g, part, start, end)
        return 0
    part.vm_flags |= VM_LOCKED
    return _posix_error(await mlock_pages(g, part, start, end))


def _posix_error(err: int) -> int:
    """__mlock_posix_error_return(): mlock has words of its own for these."""
    return {-EFAULT: -ENOMEM, -ENOMEM: -EAGAIN}.get(err, err)
