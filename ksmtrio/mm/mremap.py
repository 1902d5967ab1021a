# SPDX-License-Identifier: GPL-2.0-or-later
"""mremap(2): resize a mapping, or move it. Kernel: mm/mremap.c, v2.6.33; specification MR.

Moving takes page table entries from one place to the other as they are: present ones, swap entries,
and migration entries, whose migration may then not find them. Tests: `tests/unit/test_mremap.py`.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENOMEM
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm import MADV_UNMERGEABLE, ksm_madvise
from ksmtrio.mm.mlock_pages import mlock_vma_pages_range
from ksmtrio.mm.mm_types import (
    PTE_NONE,
    VM_DONTEXPAND,
    VM_HUGETLB,
    VM_LOCKED,
    VM_PFNMAP,
    MmStruct,
    Vma,
)
from ksmtrio.mm.mmap import (
    MAP_FIXED,
    copy_vma,
    do_munmap,
    get_unmapped_area,
    vma_adjust,
    vma_at,
)
from ksmtrio.sched.points import Points
from ksmtrio.units import (
    PAGE_SHIFT,
    PAGE_SIZE,
    PAGES_PER_PTE_TABLE,
    TASK_SIZE,
    ULONG_MASK,
    Vaddr,
    page_align,
)

MREMAP_MAYMOVE: Final = 1
MREMAP_FIXED: Final = 2

_LATENCY_LIMIT: Final = 64 * PAGE_SIZE
_TABLE: Final = PAGES_PER_PTE_TABLE * PAGE_SIZE

MR = Points(__name__, "sys_mremap", "MR", "1 6")
MOVE = Points(__name__, "move_page_tables", "MR", "4")
PTES = Points(__name__, "move_ptes", "MR", "4.1 4.1#2 4.2 4.2#2 4.3")


async def sys_mremap(
    g: Globals,
    mm: MmStruct,
    addr: Vaddr,
    old_len: int,
    new_len: int,
    flags: int,
    new_addr: Vaddr = 0,
) -> int:
    """MR: resize a mapping in its place, or move it.

    Kernel: mm/mremap.c, v2.6.33. Context: takes mmap_sem for write; sleeps.

    Steps of MR:
        1. LOCK mmap_sem for write. Check the arguments; shrink, or grow in place, if that will do;
           else move the vma:
        2. MA UNMERGEABLE on the old range, with a flags word that is thrown away: KSM pages are
           broken, those that are swapped out or on the move excepted, and the vma stays mergeable.
        3. Copy the vma: the same anon_vma, the copy behind it on the list, pgoff kept.
        4. Per 64 pages: resched; LOCK the old pte lock and, if it is another, the new one; for each
           entry that is not empty: clear the old one, set the new one (in between a lockless look
           finds neither); UNLOCK. Without memory for a page table, move all back the same way.
        5. Unmap the old range (or the new one, if all was moved back); lock the new pages of a
           VM_LOCKED vma that grew.
        6. UNLOCK mmap_sem.

    Args:
        g: the kernel.
        mm: the caller's address space.
        addr: start of the old range.
        old_len: its length in bytes; 0 makes a fresh mapping like the old one.
        new_len: bytes.
        flags: MREMAP_*.
        new_addr: where to, with MREMAP_FIXED.

    Returns:
        The mapping's address, -EINVAL, -EFAULT, -ENOMEM, or -ERESTARTSYS of step 2.
    """
    words = (word & ULONG_MASK for word in (addr, old_len, new_len, new_addr))
    addr, old_len, new_len, new_addr = words
    await mm.mmap_sem.down_write(MR["1"])
    ret = await _do_mremap(g, mm, addr, old_len, new_len, flags, new_addr)
    await mm.mmap_sem.up_write(MR["6"])
    return ret


async def _do_mremap(
    g: Globals,
    mm: MmStruct,
    addr: Vaddr,
    old_len: int,
    new_len: int,
    flags: int,
    new_addr: Vaddr,
) -> int:
    """do_mremap(): what is to be done?"""
    if flags & ~(MREMAP_FIXED | MREMAP_MAYMOVE) or addr % PAGE_SIZE:
        return -EINVAL
    old_len, new_len = page_align(old_len), page_align(new_len)
    if not new_len:
        return -EINVAL
    if flags & MREMAP_FIXED:
        if not flags & MREMAP_MAYMOVE:
            return -EINVAL
        return await mremap_to(g, mm, addr, old_len, new_len, new_addr)
    if old_len >= new_len:
        err = await do_munmap(g, mm, addr + new_len & ULONG_MASK, old_len - new_len)
        return err if err and old_len != new_len else addr
    err, vma = _vma_to_resize(mm, addr, old_len, new_len)
    if vma is None:
        return err
    if addr + old_len == vma.vm_end and _expandable(mm, vma, new_len - old_len):
        await vma_adjust(vma, addr + new_len)
        if vma.vm_flags & VM_LOCKED:
            await mlock_vma_pages_range(g, vma, addr + old_len, addr + new_len)
        return addr
    if not flags & MREMAP_MAYMOVE:
        return -ENOMEM
    new_addr = get_unmapped_area(mm, 0, new_len, 0)
    if new_addr < 0:
        return new_addr
    return await move_vma(g, vma, addr, old_len, new_len, new_addr)


async def mremap_to(
    g: Globals, mm: MmStruct, addr: Vaddr, old_len: int, new_len: int, new_addr: Vaddr
) -> int:
    """mremap_to(): move a mapping to a fixed place, unmapping what is there."""
    if new_addr % PAGE_SIZE or new_len > TASK_SIZE or new_addr > TASK_SIZE - new_len:
        return -EINVAL
    if new_addr <= addr < new_addr + new_len or addr <= new_addr < addr + old_len:
        return -EINVAL
    err = await do_munmap(g, mm, new_addr, new_len)
    if err:
        return err
    if old_len >= new_len:
        err = await do_munmap(g, mm, addr + new_len & ULONG_MASK, old_len - new_len)
        if err and old_len != new_len:
            return err
        old_len = new_len
    err, vma = _vma_to_resize(mm, addr, old_len, new_len)
    if vma is None:
        return err
    new_addr = get_unmapped_area(mm, new_addr, new_len, MAP_FIXED)
    if new_addr < 0:
        return new_addr
    return await move_vma(g, vma, addr, old_len, new_len, new_addr)


def _vma_to_resize(mm: MmStruct, addr: Vaddr, old_len: int, new_len: int) -> tuple[int, Vma | None]:
    """vma_to_resize(): the one vma that holds the old range, or an error."""
    vma = vma_at(mm, addr)
    if vma is None:
        return -EFAULT, None
    if vma.vm_flags & VM_HUGETLB:
        return -EINVAL, None
    if old_len > vma.vm_end - addr:
        return -EFAULT, None
    if vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP) and new_len > old_len:
        return -EFAULT, None
    return 0, vma


def _expandable(mm: MmStruct, vma: Vma, delta: int) -> bool:
    """vma_expandable(): nothing is in the way, neither another vma nor the end of addresses."""
    end = vma.vm_end + delta
    return end <= TASK_SIZE and all(
        other.vm_start >= end or other.vm_end <= vma.vm_end for other in mm.vmas
    )


async def move_vma(
    g: Globals, vma: Vma, old_addr: Vaddr, old_len: int, new_len: int, new_addr: Vaddr
) -> int:
    """move_vma(): MR.2-5. Returns the new address, or a negative errno."""
    vm_flags = vma.vm_flags
    err, _ = await ksm_madvise(g, vma, old_addr, old_addr + old_len, advice=MADV_UNMERGEABLE)
    if err:
        return err
    pgoff = vma.vm_pgoff + ((old_addr - vma.vm_start) >> PAGE_SHIFT)
    new_vma = await copy_vma(g, vma, new_addr, new_len, pgoff)
    if new_vma is None:
        return -ENOMEM
    ret = new_addr
    moved = await move_page_tables(g, vma.vm_mm, old_addr, new_addr, old_len)
    if moved < old_len:
        # The old page tables are still there, so that moving back cannot fail.
        await move_page_tables(g, vma.vm_mm, new_addr, old_addr, moved, back=True)
        old_addr, old_len, ret = new_addr, new_len, -ENOMEM
    mm: MmStruct = new_vma.vm_mm
    await do_munmap(g, mm, old_addr, old_len)
    if ret >= 0 and vm_flags & VM_LOCKED and new_len > old_len:
        await mlock_vma_pages_range(g, new_vma, new_addr + old_len, new_addr + new_len)
    return ret


async def move_page_tables(
    g: Globals, mm: MmStruct, old: Vaddr, new: Vaddr, length: int, *, back: bool = False
) -> int:
    """move_page_tables(): MR.4. Returns how many bytes were moved: fewer than asked, no memory."""
    moved = 0
    while moved < length:
        await g.rt.cond_resched(MOVE["4"])
        if not back and g.rt.fault("enomem", MOVE["4"]):
            break
        here, there = old + moved, new + moved
        extent = min(
            length - moved, _TABLE - here % _TABLE, _TABLE - there % _TABLE, _LATENCY_LIMIT
        )
        await move_ptes(g, mm, here, there, extent)
        moved += extent
    return moved


async def move_ptes(g: Globals, mm: MmStruct, old: Vaddr, new: Vaddr, extent: int) -> None:
    """move_ptes(): move the entries of a range that lies in one page table, as does its target.

    Kernel: mm/mremap.c, v2.6.33; specification MR.4. Which of the two locks comes first does not
    matter: mmap_sem is held for write.
    """
    old_ptl, new_ptl = mm.ptl(old), mm.ptl(new)
    await old_ptl.lock(PTES["4.1"])
    if new_ptl is not old_ptl:
        await new_ptl.lock(PTES["4.1#2"])
    for offset in range(0, extent, PAGE_SIZE):
        from_ = mm.ptes.get(old + offset >> PAGE_SHIFT)
        if from_ is None or (await from_.read(PTES["4.2"])).none:
            continue
        # Reading and clearing are one step: a user access may set young and dirty until then.
        pte = await from_.read(PTES["4.2#2"])
        from_.write_in_step(PTES["4.2#2"], PTE_NONE)
        await mm.pte(new + offset).write(PTES["4.3"], pte)
        for watcher in g.user_access:
            watcher.moved(mm, old + offset, new + offset)
    if new_ptl is not old_ptl:
        new_ptl.unlock(PTES["4.3"])
    old_ptl.unlock(PTES["4.3"])
