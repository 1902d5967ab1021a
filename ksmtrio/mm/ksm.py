# SPDX-License-Identifier: GPL-2.0-or-later
"""KSM's interface to the rest of mm: madvise, registration of address spaces.

Kernel: mm/ksm.c, v2.6.33; specification MA KE KX. The scan is in ksm_scan.py, the trees in
ksm_tree.py, page table work in ksm_merge.py, reverse maps in ksm_rmap.py, the memory notifier in
ksm_hotplug.py. Tests: `tests/unit/test_ksm.py`.
"""

from __future__ import annotations

from errno import ENOMEM
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_merge import unmerge_ksm_pages
from ksmtrio.mm.ksm_types import MmSlot
from ksmtrio.mm.mm_types import (
    MMF_VM_MERGEABLE,
    VM_DONTEXPAND,
    VM_HUGETLB,
    VM_INSERTPAGE,
    VM_IO,
    VM_MAYSHARE,
    VM_MERGEABLE,
    VM_MIXEDMAP,
    VM_NONLINEAR,
    VM_PFNMAP,
    VM_RESERVED,
    VM_SAO,
    VM_SHARED,
    MmStruct,
    Vma,
)
from ksmtrio.mm.mmap import mmdrop
from ksmtrio.sched.points import Points
from ksmtrio.units import Vaddr

MADV_MERGEABLE: Final = 12
MADV_UNMERGEABLE: Final = 13

NEVER_MERGED: Final = (
    VM_SHARED
    | VM_MAYSHARE
    | VM_PFNMAP
    | VM_IO
    | VM_DONTEXPAND
    | VM_RESERVED
    | VM_HUGETLB
    | VM_INSERTPAGE
    | VM_NONLINEAR
    | VM_MIXEDMAP
    | VM_SAO
)
"""Flags of areas for which MADV_MERGEABLE is ignored: they hold no private anonymous pages."""

MA = Points(__name__, "ksm_madvise", "MA", "1 2")
KE = Points(__name__, "__ksm_enter", "KE", "1 2 3 4 5 6")
KX = Points(__name__, "__ksm_exit", "KX", "1 1b 2 2#2 2/free_mm_slot 3 3#2")


async def ksm_madvise(
    g: Globals, vma: Vma, start: Vaddr, end: Vaddr, *, advice: int
) -> tuple[int, int]:
    """MA: MADV_MERGEABLE or MADV_UNMERGEABLE on [start, end), which lies inside a vma.

    Kernel: mm/ksm.c, ksm_madvise(), v2.6.33. Context: mmap_sem held for write; takes no
    ksm_thread_mutex, so memory offline does not lock it out.

    Steps of MA:
        1. MERGEABLE, and the vma is of the kind that can be merged and not MERGEABLE yet; of others
           the advice is ignored. Read MMF_VM_MERGEABLE of the mm; clear: KE, whose error is
           returned. The flag is set in the flags of the range.
        2. UNMERGEABLE, and the vma is MERGEABLE: read its anon_vma; there is one: UP, whose error
           is returned. The flag is cleared in the flags of the range.

    Returns:
        (0 or a negative errno, vm_flags of the range; the caller splits the vma and stores them).
    """
    flags = vma.vm_flags
    if not g.kernel.CONFIG_KSM:
        return 0, flags
    if advice == MADV_MERGEABLE:
        if flags & (VM_MERGEABLE | NEVER_MERGED):
            return 0, flags
        mm = vma.vm_mm
        if not await mm.flags.test(MA["1"], MMF_VM_MERGEABLE):
            err = await _ksm_enter(g, mm)
            if err:
                return err, flags
        return 0, flags | VM_MERGEABLE
    if not flags & VM_MERGEABLE:
        return 0, flags
    if await vma.anon_vma.read(MA["2"]) is not None:
        err = await unmerge_ksm_pages(g, vma, start, end)
        if err:
            return err, flags
    return 0, flags & ~VM_MERGEABLE


async def _ksm_enter(g: Globals, mm: MmStruct) -> int:
    """KE, __ksm_enter(): register an address space, just behind the cursor.

    Kernel: mm/ksm.c, v2.6.33; specification KE.1-6. Returns 0 or -ENOMEM.
    """
    ksm = g.ksm
    g.rt.might_sleep(KE["1"])
    await g.rt.point(KE["1"], "kmem_cache_alloc", None)
    if g.rt.fault("enomem", KE["1"]):
        return -ENOMEM
    slot = MmSlot(g.rt, ksm, mm)
    needs_wakeup = await ksm.list_empty.read(KE["2"])
    await ksm.ksm_mmlist_lock.lock(KE["3"])
    if g.kernel.proposed_enter_looks_under_lock:
        needs_wakeup = ksm.list_empty.read_in_step(KE["3"])
    slots, cursor = ksm.mm_list, ksm.cursor.mm_slot
    position = len(slots) if cursor is ksm.head else slots.index(cursor)
    ksm.mm_list = (*slots[:position], slot, *slots[position:])
    ksm.list_empty.write_in_step(KE["3"], False)
    ksm.ksm_mmlist_lock.unlock(KE["3"])
    await mm.flags.set(KE["4"], MMF_VM_MERGEABLE)
    await mm.mm_count.inc(KE["5"])
    if needs_wakeup:
        await ksm.ksm_thread_wait.wake_up(KE["6"])
    return 0


async def _ksm_exit(g: Globals, mm: MmStruct) -> None:
    """KX, __ksm_exit(): forget an exiting address space, or have ksmd forget it next.

    Kernel: mm/ksm.c, v2.6.33; specification KX.1-3. Context: mm_users is 0, before exit_mmap.
    """
    ksm = g.ksm
    await ksm.ksm_mmlist_lock.lock(KX["1"])
    slots = ksm.mm_list
    slot = next((s for s in slots if s.mm is mm), None)
    easy = False
    if slot is not None and slot is not ksm.cursor.mm_slot:
        rest = tuple(s for s in slots if s is not slot)
        if not await slot.rmap_list.read(KX["1b"]):
            easy = True
            ksm.mm_list = rest
            ksm.list_empty.write_in_step(KX["1b"], not rest)
        else:
            cursor = ksm.cursor.mm_slot
            position = 0 if cursor is ksm.head else rest.index(cursor) + 1
            ksm.mm_list = (*rest[:position], slot, *rest[position:])
    ksm.ksm_mmlist_lock.unlock(KX["1"])
    if easy and slot is not None:
        await g.rt.point(KX["2/free_mm_slot"], "kmem_cache_free", None)
        slot.die("freed", KX["2/free_mm_slot"])
        await mm.flags.clear(KX["2"], MMF_VM_MERGEABLE)
        await mmdrop(mm, KX["2#2"])
    elif slot is not None:
        await mm.mmap_sem.down_write(KX["3"])
        await mm.mmap_sem.up_write(KX["3#2"])
