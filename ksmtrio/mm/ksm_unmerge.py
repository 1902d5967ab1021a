# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking apart everything that was merged: what writing 2 to `run` does.

Kernel: mm/ksm.c, v2.6.33; specification UA. Tests: `tests/unit/test_ksm_unmerge.py`.
"""

from __future__ import annotations

from ksmtrio.errors import EmulatorError
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_merge import unmerge_ksm_pages
from ksmtrio.mm.ksm_scan import ksm_test_exit, remove_trailing_rmap_items
from ksmtrio.mm.ksm_types import MmSlot
from ksmtrio.mm.mm_types import MMF_VM_MERGEABLE, VM_MERGEABLE, MmStruct
from ksmtrio.mm.mmap import mmdrop
from ksmtrio.sched.points import Points

UA = Points(
    __name__,
    "unmerge_and_remove_all_rmap_items",
    "UA",
    "1 3 4 4#2 6 6b 7 7/free_mm_slot 8 9 11 12 12#2",
)


async def unmerge_and_remove_all_rmap_items(g: Globals) -> int:
    """UA: break every KSM page in every registered address space, and forget all rmap_items.

    Kernel: mm/ksm.c, unmerge_and_remove_all_rmap_items(), v2.6.33; specification UA.1-12. Context:
    ksm_thread_mutex held; takes each mmap_sem for read. One pass from the first slot on: who
    registers meanwhile is put behind the cursor and passed over, but has no items yet. Stable nodes
    that lost their items, or their page, stay in the tree until a search or an offline meets them.

    Returns:
        0, or the error of unmerge_ksm_pages; the slots not yet reached then keep their items.
    """
    ksm, cursor = g.ksm, g.ksm.cursor
    await ksm.ksm_mmlist_lock.lock(UA["1"])
    cursor.mm_slot = ksm.mm_list[0] if ksm.mm_list else ksm.head
    ksm.ksm_mmlist_lock.unlock(UA["1"])
    while (slot := cursor.mm_slot) is not ksm.head:
        mm = slot.mm
        if mm is None:
            raise EmulatorError(f"{slot.name} is on the list and has no mm")
        await mm.mmap_sem.down_read(UA["3"])
        err = await _unmerge_vmas(g, mm)
        if not err:
            await remove_trailing_rmap_items(g, slot, 0)
            if g.kernel.proposed_items_follow_mappings:
                # A swap-in that relied on an item just removed has mapped its page meanwhile.
                err = await _unmerge_vmas(g, mm)
        if err:
            await mm.mmap_sem.up_read(UA["12"])
            await ksm.ksm_mmlist_lock.lock(UA["12#2"])
            cursor.mm_slot = ksm.head
            ksm.ksm_mmlist_lock.unlock(UA["12#2"])
            return err
        await _leave_slot(g, slot, mm)
    await cursor.seqnr.write(UA["11"], 0)
    return 0


async def _unmerge_vmas(g: Globals, mm: MmStruct) -> int:
    """UA.4: unmerge the mergeable areas of one address space; mmap_sem held for read."""
    for vma in mm.vmas:
        if await ksm_test_exit(mm, UA["4"]):
            return 0
        if not vma.vm_flags & VM_MERGEABLE or await vma.anon_vma.read(UA["4#2"]) is None:
            continue
        err = await unmerge_ksm_pages(g, vma, vma.vm_start, vma.vm_end)
        if err:
            return err
    return 0


async def _leave_slot(g: Globals, slot: MmSlot, mm: MmStruct) -> None:
    """UA.6-9: move the cursor on, forgetting the slot if its address space is going away.

    As in SG.11, __ksm_exit may free the slot, and mmput then the mm, once ksmd's lock is dropped
    and the cursor is elsewhere, while mmap_sem is still held here; `scan_drops_mmap_sem_first`
    covers both places.
    """
    ksm, cursor = g.ksm, g.ksm.cursor
    sem_first = g.kernel.scan_drops_mmap_sem_first
    if sem_first:
        await mm.mmap_sem.up_read(UA["8"])
    await ksm.ksm_mmlist_lock.lock(UA["6"])
    position = ksm.mm_list.index(slot)
    following = ksm.mm_list[position + 1] if position + 1 < len(ksm.mm_list) else ksm.head
    cursor.mm_slot = following
    gone = await ksm_test_exit(mm, UA["6b"])
    if gone:
        ksm.mm_list = tuple(s for s in ksm.mm_list if s is not slot)
        ksm.list_empty.write_in_step(UA["6b"], not ksm.mm_list)
    ksm.ksm_mmlist_lock.unlock(UA["6b"])
    if gone:
        await g.rt.point(UA["7/free_mm_slot"], "kmem_cache_free", None)
        slot.die("freed", UA["7/free_mm_slot"])
        await mm.flags.clear(UA["7"], MMF_VM_MERGEABLE)
    if not sem_first:
        await mm.mmap_sem.up_read(UA["8"])
    if gone:
        await mmdrop(mm, UA["9"])
