# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces: finding, making, splitting, copying and removing vmas.

Kernel: mm/mmap.c, v2.6.33. Differs: adjacent compatible vmas are never merged; there are no limits
(RLIMIT_AS, RLIMIT_MEMLOCK, max_map_count). Tests: `tests/unit/test_mmap.py`.
"""

from __future__ import annotations

from errno import EBADF, EINVAL, ENOMEM
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory import tlb_finish_mmu, zap_pte_range
from ksmtrio.mm.mlock_pages import mlock_vma_pages_range, munlock_vma_pages_range
from ksmtrio.mm.mm_types import (
    VM_EXEC,
    VM_LOCKED,
    VM_MAYSHARE,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    MmStruct,
    Page,
    Vma,
)
from ksmtrio.mm.rmap import anon_vma_link, anon_vma_unlink
from ksmtrio.mm.swap import lru_add_drain
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE, TASK_SIZE, ULONG_MASK, Vaddr, page_align

PROT_NONE: Final = 0
PROT_READ: Final = 1
PROT_WRITE: Final = 2
PROT_EXEC: Final = 4
MAP_SHARED: Final = 0x01
MAP_PRIVATE: Final = 0x02
MAP_TYPE: Final = 0x0F
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_LOCKED: Final = 0x2000
MMAP_BASE: Final[Vaddr] = page_align(TASK_SIZE // 3)
"""TASK_UNMAPPED_BASE: where the search for a free range begins, upwards (the legacy layout)."""

MMAP = Points(__name__, "sys_mmap", "", "1 2 3")
MUNMAP_CALL = Points(__name__, "sys_munmap", "", "1 2")
MUNMAP = Points(
    __name__,
    "do_munmap",
    "",
    "2 2/pagevec_lru_add 2/pagevec_lru_add#2 2/release_pages 3 3#2 3#3",
)
EXIT_MMAP = Points(
    __name__,
    "exit_mmap",
    "EX",
    "3.1 3.1/pagevec_lru_add 3.1/pagevec_lru_add#2 3.1/release_pages 3.2 3.2#2 3.2#3",
)
SPLIT = Points(__name__, "split_vma", "", "1")
COPY_VMA = Points(__name__, "copy_vma", "MR", "3 3#2 3#3")
ADJUST = Points(__name__, "vma_adjust", "", "1 1#2")


def find_vma(mm: MmStruct, address: Vaddr) -> Vma | None:
    """find_vma(): the first vma that ends above `address`, which it need not contain."""
    for vma in mm.vmas:
        if address < vma.vm_end:
            return vma
    return None


def vma_at(mm: MmStruct, address: Vaddr) -> Vma | None:
    """Return the vma that contains `address`."""
    vma = find_vma(mm, address)
    return vma if vma is not None and vma.vm_start <= address else None


def _link(mm: MmStruct, new: Vma) -> None:
    """Put a vma in its place among the others; mmap_sem held for write."""
    below = [vma for vma in mm.vmas if vma.vm_start < new.vm_start]
    mm.vmas = (*below, new, *mm.vmas[len(below) :])


# -- splitting, growing, copying ---------------------------------------------------------------


async def split_vma(g: Globals, vma: Vma, address: Vaddr) -> Vma | None:
    """split_vma(): cut a vma in two at `address`; return the upper half, None for lack of memory.

    Context: mmap_sem held for write; takes anon_vma->lock, because rmap walks read the bounds.
    """
    if g.rt.fault("enomem", SPLIT["1"]):
        return None
    anon_vma = await vma.anon_vma.read(SPLIT["1"])
    if anon_vma is not None:
        await anon_vma.lock.lock(SPLIT["1"])
    pgoff = vma.vm_pgoff + ((address - vma.vm_start) >> PAGE_SHIFT)
    upper = Vma(g.rt, vma.vm_mm, address, vma.vm_end, flags=vma.vm_flags, pgoff=pgoff)
    upper.vm_policy = vma.vm_policy
    vma.vm_end = address
    if anon_vma is not None:
        upper.anon_vma.write_in_step(SPLIT["1"], anon_vma)
        anon_vma.head.append(upper)
        anon_vma.lock.unlock(SPLIT["1"])
    _link(vma.vm_mm, upper)
    return upper


async def split_to_range(g: Globals, vma: Vma, start: Vaddr, end: Vaddr) -> Vma | None:
    """Cut off what reaches over the ends of a range; return the part inside, None for no memory.

    What madvise, mlock and mbind do with each vma: cuts made before memory ran out stay.
    """
    part: Vma | None = vma
    if vma.vm_start < start:
        part = await split_vma(g, vma, start)
    if part is not None and part.vm_end > end and await split_vma(g, part, end) is None:
        return None
    return part


async def vma_adjust(vma: Vma, end: Vaddr) -> None:
    """vma_adjust(): let a vma grow upwards to `end`. Context: as `split_vma`."""
    anon_vma = await vma.anon_vma.read(ADJUST["1"])
    if anon_vma is not None:
        await anon_vma.lock.lock(ADJUST["1#2"])
    vma.vm_end = end
    if anon_vma is not None:
        anon_vma.lock.unlock(ADJUST["1#2"])


async def copy_vma(g: Globals, vma: Vma, addr: Vaddr, length: int, pgoff: int) -> Vma | None:
    """copy_vma(): a vma at `addr` that can map the pages of another, for mremap.

    Kernel: mm/mmap.c, copy_vma(), v2.6.33; a part of MR.3. Context: mmap_sem held for write. The
    copy is behind the original on the list of their anon_vma. A vma that was never written to is
    numbered anew.

    Returns:
        The vma, linked, or None for lack of memory.
    """
    anon_vma = await vma.anon_vma.read(COPY_VMA["3"])
    if anon_vma is None:
        pgoff = addr >> PAGE_SHIFT
    await g.rt.point(COPY_VMA["3#2"], "kmem_cache_alloc", None)
    if g.rt.fault("enomem", COPY_VMA["3#2"]):
        return None
    new = Vma(g.rt, vma.vm_mm, addr, addr + length, flags=vma.vm_flags, pgoff=pgoff)
    new.vm_policy = vma.vm_policy
    new.anon_vma.write_in_step(COPY_VMA["3#2"], anon_vma)
    await anon_vma_link(new, COPY_VMA["3#3"])
    _link(vma.vm_mm, new)
    return new


# -- mapping -----------------------------------------------------------------------------------


def get_unmapped_area(mm: MmStruct, addr: Vaddr, length: int, flags: int) -> int:
    """get_unmapped_area(): where a mapping goes; mmap_sem held.

    Args:
        mm: the address space.
        addr: where the caller wants it; a hint unless MAP_FIXED, 0 for anywhere.
        length: whole pages, in bytes.
        flags: MAP_*.

    Returns:
        An address, or -ENOMEM, or -EINVAL for a fixed one that is not on a page boundary.
    """
    if length > TASK_SIZE:
        return -ENOMEM
    if flags & MAP_FIXED:
        if addr > TASK_SIZE - length:
            return -ENOMEM
        return -EINVAL if addr % PAGE_SIZE else addr
    if addr:
        addr = page_align(addr)
        vma = find_vma(mm, addr)
        if addr <= TASK_SIZE - length and (vma is None or addr + length <= vma.vm_start):
            return addr
    start = MMAP_BASE
    for vma in mm.vmas:
        if start + length <= vma.vm_start:
            break
        start = max(start, vma.vm_end)
    return start if start + length <= TASK_SIZE else -ENOMEM


async def sys_mmap(
    g: Globals, mm: MmStruct, addr: Vaddr, length: int, prot: int, flags: int
) -> int:
    """mmap(2) of anonymous memory.

    Kernel: sys_mmap_pgoff(), do_mmap_pgoff() and mmap_region(), v2.6.33. Differs: there are no
    files, so that a mapping of one is -EBADF; shared memory (MAP_SHARED) belongs to this mm only.

    Returns:
        The address, or -EBADF, -EINVAL, -ENOMEM.
    """
    if not flags & MAP_ANONYMOUS:
        return -EBADF
    await mm.mmap_sem.down_write(MMAP["1"])
    ret = await _do_mmap(g, mm, addr & ULONG_MASK, length & ULONG_MASK, prot, flags)
    await mm.mmap_sem.up_write(MMAP["3"])
    return ret


async def _do_mmap(
    g: Globals, mm: MmStruct, addr: Vaddr, length: int, prot: int, flags: int
) -> int:
    """do_mmap_pgoff(): check the arguments, choose the place."""
    if not length:
        return -EINVAL
    length = page_align(length)
    if not length or length > TASK_SIZE:
        return -ENOMEM
    if not flags & MAP_FIXED:
        addr -= addr % PAGE_SIZE
    addr = get_unmapped_area(mm, addr, length, flags)
    if addr < 0:
        return addr
    vm_flags = 0
    for bit, flag in ((PROT_READ, VM_READ), (PROT_WRITE, VM_WRITE), (PROT_EXEC, VM_EXEC)):
        vm_flags |= flag if prot & bit else 0
    if flags & MAP_LOCKED:
        vm_flags |= VM_LOCKED
    pgoff = addr >> PAGE_SHIFT
    if flags & MAP_TYPE == MAP_SHARED:
        vm_flags |= VM_SHARED | VM_MAYSHARE
        pgoff = 0
    elif flags & MAP_TYPE != MAP_PRIVATE:
        return -EINVAL
    return await mmap_region(g, mm, addr, length, vm_flags, pgoff)


async def mmap_region(
    g: Globals, mm: MmStruct, addr: Vaddr, length: int, vm_flags: int, pgoff: int
) -> int:
    """mmap_region(): unmap what is there, then map. Returns the address or -ENOMEM."""
    if await do_munmap(g, mm, addr, length):
        return -ENOMEM
    await g.rt.point(MMAP["2"], "kmem_cache_alloc", None)
    if g.rt.fault("enomem", MMAP["2"]):
        return -ENOMEM
    vma = Vma(g.rt, mm, addr, addr + length, flags=vm_flags, pgoff=pgoff)
    _link(mm, vma)
    if vm_flags & VM_LOCKED:
        await mlock_vma_pages_range(g, vma, addr, addr + length)
    return addr


# -- unmapping ---------------------------------------------------------------------------------


async def sys_munmap(g: Globals, mm: MmStruct, addr: Vaddr, length: int) -> int:
    """munmap(2). Context: takes mmap_sem for write. Returns 0 or a negative errno."""
    await mm.mmap_sem.down_write(MUNMAP_CALL["1"])
    err = await do_munmap(g, mm, addr & ULONG_MASK, length & ULONG_MASK)
    await mm.mmap_sem.up_write(MUNMAP_CALL["2"])
    return err


async def do_munmap(g: Globals, mm: MmStruct, start: Vaddr, length: int) -> int:
    """do_munmap(): remove all mappings of a range. Context: mmap_sem held for write.

    The vmas are cut to the range, VM_LOCKED ones munlocked, then taken off the mm. Order as in
    unmap_region(): ptes, then the anon_vma links, then the pages' references.

    Returns:
        0 (also where nothing is mapped), -EINVAL, or -ENOMEM when a vma could not be split.
    """
    if start % PAGE_SIZE or start > TASK_SIZE or length > TASK_SIZE - start:
        return -EINVAL
    end = start + page_align(length)
    if end == start:
        return -EINVAL
    doomed: list[Vma] = []
    for vma in [v for v in mm.vmas if v.vm_start < end and start < v.vm_end]:
        part = await split_to_range(g, vma, start, end)
        if part is None:
            return -ENOMEM
        doomed.append(part)
    if not doomed:
        return 0
    await _munlock(g, doomed)
    mm.vmas = tuple(vma for vma in mm.vmas if vma not in doomed)
    await lru_add_drain(g, MUNMAP["2"])
    await _unmap_region(g, doomed, MUNMAP["3"])
    return 0


async def _munlock(g: Globals, vmas: list[Vma]) -> None:
    """Unlock what is mlocked, while its ptes still lead to the pages."""
    for vma in vmas:
        if vma.vm_flags & VM_LOCKED:
            await munlock_vma_pages_range(g, vma, vma.vm_start, vma.vm_end)


async def _unmap_region(g: Globals, vmas: list[Vma], at: str) -> None:
    """unmap_vmas(), free_pgtables(), tlb_finish_mmu(), remove_vma(), in this order."""
    batch: list[Page] = []
    for vma in vmas:
        batch += await zap_pte_range(g, vma, vma.vm_start, vma.vm_end)
    for vma in vmas:
        await anon_vma_unlink(vma, at)
    await tlb_finish_mmu(g, batch)
    for vma in vmas:
        vma.die("freed", at)


async def exit_mmap(g: Globals, mm: MmStruct) -> None:
    """exit_mmap(): tear the address space down, with no lock at all.

    Kernel: mm/mmap.c, exit_mmap(), v2.6.33; specification EX.3. mm_users is 0.
    """
    vmas = list(mm.vmas)
    await _munlock(g, vmas)
    if not vmas:
        return
    await lru_add_drain(g, EXIT_MMAP["3.1"])
    await _unmap_region(g, vmas, EXIT_MMAP["3.2"])
    mm.vmas = ()


async def mmdrop(mm: MmStruct, at: str) -> None:
    """mmdrop() of kernel/fork.c: drop a reference to the structure. KSM needs it too."""
    if await mm.mm_count.dec_and_test(at):
        mm.die("freed", at)
