# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces: looking up, splitting and removing vmas. Kernel: mm/mmap.c, v2.6.33.

Differs: adjacent compatible vmas are not merged again. Tests: `tests/unit/test_mmap.py`.
"""

from __future__ import annotations

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory import tlb_finish_mmu, zap_pte_range
from ksmtrio.mm.mm_types import MmStruct, Page, Vma
from ksmtrio.mm.rmap import anon_vma_unlink
from ksmtrio.mm.swap import lru_add_drain
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SHIFT, Vaddr

MUNMAP = Points(
    __name__,
    "do_munmap",
    "",
    "1 2 2/pagevec_lru_add 2/pagevec_lru_add#2 2/release_pages 3 3#2 3#3 6",
)
EXIT_MMAP = Points(
    __name__,
    "exit_mmap",
    "EX",
    "3.1 3.1/pagevec_lru_add 3.1/pagevec_lru_add#2 3.1/release_pages 3.2 3.2#2 3.2#3",
)
SPLIT = Points(__name__, "split_vma", "", "1")


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


async def split_vma(g: Globals, vma: Vma, address: Vaddr) -> Vma:
    """split_vma(): cut a vma in two at `address`; return the upper half.

    Context: mmap_sem held for write; takes anon_vma->lock, because rmap walks read the bounds.
    """
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
    mm = vma.vm_mm
    at = mm.vmas.index(vma) + 1
    mm.vmas = (*mm.vmas[:at], upper, *mm.vmas[at:])
    return upper


async def vmas_cut_to(g: Globals, mm: MmStruct, start: Vaddr, end: Vaddr) -> list[Vma]:
    """Return the vmas inside [start, end), splitting those that reach over its ends."""
    inside: list[Vma] = []
    for vma in mm.vmas:
        if vma.vm_end <= start or vma.vm_start >= end:
            continue
        part = await split_vma(g, vma, start) if vma.vm_start < start else vma
        if part.vm_end > end:
            await split_vma(g, part, end)
        inside.append(part)
    return inside


async def do_munmap(g: Globals, mm: MmStruct, start: Vaddr, end: Vaddr) -> int:
    """munmap(2) after its argument checks. Context: takes mmap_sem for write.

    Order as in unmap_region(): ptes, then the anon_vma links, then the pages' references.
    """
    await mm.mmap_sem.down_write(MUNMAP["1"])
    doomed = await vmas_cut_to(g, mm, start, end)
    mm.vmas = tuple(vma for vma in mm.vmas if vma not in doomed)
    if doomed:
        await lru_add_drain(g, MUNMAP["2"])
    await _unmap_region(g, doomed, MUNMAP["3"])
    for watcher in g.user_access:
        watcher.unmapped(mm, start, end)
    await mm.mmap_sem.up_write(MUNMAP["6"])
    return 0


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

    Kernel: mm/mmap.c, exit_mmap(), v2.6.33; specification EX. mm_users is 0.
    """
    await lru_add_drain(g, EXIT_MMAP["3.1"])
    vmas = list(mm.vmas)
    await _unmap_region(g, vmas, EXIT_MMAP["3.2"])
    mm.vmas = ()
    for watcher in g.user_access:
        watcher.unmapped(mm, 0, 1 << 62)


async def mmdrop(mm: MmStruct, at: str) -> None:
    """mmdrop() of kernel/fork.c: drop a reference to the structure. KSM needs it too."""
    if await mm.mm_count.dec_and_test(at):
        mm.die("freed", at)
