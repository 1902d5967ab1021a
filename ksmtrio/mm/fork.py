# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces come and go: dup_mm(), exit_mm(), mmput(), get_task_mm().

Kernel: kernel/fork.c, v2.6.33; specification DU, EX. Copying page tables is in memory_copy.py.
Tests: `tests/unit/test_fork.py`, `tests/unit/test_mmap.py`.
"""

from __future__ import annotations

from errno import ENOMEM, ESRCH

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm import _ksm_enter, _ksm_exit
from ksmtrio.mm.memory_copy import copy_page_range
from ksmtrio.mm.mm_types import MMF_VM_MERGEABLE, VM_DONTCOPY, VM_LOCKED, MmStruct, Vma
from ksmtrio.mm.mmap import exit_mmap, mmdrop
from ksmtrio.mm.rmap import anon_vma_link
from ksmtrio.mm.swapfile import mmlist_remove
from ksmtrio.sched.points import Points

DUP_MM = Points(__name__, "dup_mm", "", "1")
DU = Points(__name__, "dup_mmap", "DU", "1 1#2 2 3 3#2 3/anon_vma_link 4 4#2")
EXIT_MM = Points(__name__, "exit_mm", "", "1")
MMPUT = Points(__name__, "mmput", "EX", "1 2 3 3/mmlist 3/mmlist#2")


async def dup_mm(g: Globals, oldmm: MmStruct, label: str) -> MmStruct | None:
    """Give a new task a copy of an address space.

    Kernel: kernel/fork.c, dup_mm(), v2.6.33; specification DU. Context: sleeps; no lock held.

    Args:
        g: the kernel.
        oldmm: the parent's, which the caller uses.
        label: process name of the child.

    Returns:
        The child's address space with one user, or None for lack of memory: what had been copied
        is gone again.
    """
    g.rt.might_sleep(DUP_MM["1"])
    await g.rt.point(DUP_MM["1"], "kmem_cache_alloc", None)
    if g.rt.fault("enomem", DUP_MM["1"]):
        return None
    mm = MmStruct(g.rt, label, g.watchers)
    g.processes.append(mm)
    if await dup_mmap(g, mm, oldmm):
        await mmput(g, mm)
        return None
    return mm


async def dup_mmap(g: Globals, mm: MmStruct, oldmm: MmStruct) -> int:
    """DU: copy the vmas and page tables of `oldmm` into `mm`, which is empty.

    Kernel: kernel/fork.c, dup_mmap(), v2.6.33; specification DU.1-4. Context: takes both mmap_sems
    for write, the child's inside the parent's.

    A child's vma is on the anon_vma's list, behind its parent's, before the first of its ptes is
    filled: a walk that puts a page back either changes the parent's pte before that is copied, or
    comes to the child's vma afterwards.

    Returns:
        0 or -ENOMEM; then the child has what was copied so far.
    """
    await oldmm.mmap_sem.down_write(DU["1"])
    await mm.mmap_sem.down_write(DU["1#2"])
    err = 0
    if g.kernel.CONFIG_KSM and await oldmm.flags.test(DU["2"], MMF_VM_MERGEABLE):
        err = await _ksm_enter(g, mm)
    if not err:
        for vma in [vma for vma in oldmm.vmas if not vma.vm_flags & VM_DONTCOPY]:
            err = await _dup_vma(g, mm, vma)
            if err:
                break
    await mm.mmap_sem.up_write(DU["4"])
    await oldmm.mmap_sem.up_write(DU["4#2"])
    return err


async def _dup_vma(g: Globals, mm: MmStruct, vma: Vma) -> int:
    """DU.3: one vma with its ptes. The copy is reachable by rmap before `mm` itself lists it."""
    await g.rt.point(DU["3"], "kmem_cache_alloc", None)
    if g.rt.fault("enomem", DU["3"]):
        return -ENOMEM
    flags = vma.vm_flags & ~VM_LOCKED
    copy = Vma(g.rt, mm, vma.vm_start, vma.vm_end, flags=flags, pgoff=vma.vm_pgoff)
    copy.vm_policy = vma.vm_policy
    copy.anon_vma.write_in_step(DU["3#2"], await vma.anon_vma.read(DU["3#2"]))
    await anon_vma_link(copy, DU["3/anon_vma_link"])
    mm.vmas = (*mm.vmas, copy)
    return await copy_page_range(g, mm, vma)


async def get_task_mm(mm: MmStruct, at: str) -> bool:
    """get_task_mm(): become a user of another task's address space; False: it has none any more.

    Whoever gets True calls `mmput` in the end, and so may be the one who tears it down.
    """
    if await mm.group.threads.read(at) == 0:
        return False
    mm.mm_users.write_in_step(at, mm.mm_users.read_in_step(at) + 1)
    return True


async def exit_mm(g: Globals, mm: MmStruct) -> int:
    """exit_mm() of kernel/exit.c: a thread gives its address space up.

    After the last one others may still be using it, but nobody becomes a user of it any more
    (`get_task_mm`).

    Returns:
        0, or -ESRCH when all have exited before.
    """
    if not await mm.group.threads.add_unless(EXIT_MM["1"], -1, 0):
        return -ESRCH
    await mmput(g, mm)
    return 0


async def mmput(g: Globals, mm: MmStruct) -> None:
    """mmput(): drop a user of the address space; the last one tears it down.

    Kernel: kernel/fork.c, mmput(), v2.6.33. Context: sleeps; takes no mmap_sem for the teardown.

    Steps of EX:
        1. mm_users-1; not 0: done.
        2. Read MMF_VM_MERGEABLE; set: KX.
        3. exit_mmap: munlock each VM_LOCKED vma; drain this CPU's pagevecs (3.1); ZP over
           everything; unlink each vma from its anon_vma (3.2). Off swapoff's list; mmdrop.
    """
    if await mm.mm_users.dec_and_test(MMPUT["1"]):
        if g.kernel.CONFIG_KSM and await mm.flags.test(MMPUT["2"], MMF_VM_MERGEABLE):
            await _ksm_exit(g, mm)
        await exit_mmap(g, mm)
        await mmlist_remove(g, mm, MMPUT["3"])
        await mmdrop(mm, MMPUT["3"])
