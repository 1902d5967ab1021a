# SPDX-License-Identifier: GPL-2.0-or-later
"""procfs: one function for each file of a process. Kernel: fs/proc/task_mmu.c, v2.6.33.

Tests: `tests/unit/test_procfs.py`.
"""

from __future__ import annotations

from errno import ESRCH

from ksmtrio.errors import SyscallError
from ksmtrio.mm.fork import get_task_mm, mmput
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.mm.numa_maps import read_numa_maps
from ksmtrio.sched.points import Points
from ksmtrio.uapi.answer import system_call
from ksmtrio.units import PAGE_SHIFT, ULONG_MASK, Pfn, Vaddr

PAGEMAP = Points(__name__, "pagemap_read", "", "1 2")


@system_call
async def numa_maps(g: Globals, mm: MmStruct) -> str:
    """Read `/proc/PID/numa_maps`: one line an area.

    Raises:
        SyscallError: ESRCH when the process has exited.
    """
    err, text = await read_numa_maps(g, mm)
    if err:
        raise SyscallError(-err)
    return text


@system_call
async def pagemap(g: Globals, mm: MmStruct, address: Vaddr) -> Pfn | None:
    """Read one entry of `/proc/PID/pagemap`: the frame that is mapped at an address.

    Kernel: fs/proc/task_mmu.c, pagemap_read(), v2.6.33.

    Steps:
        1. Become a user of the address space; none any more: -ESRCH.
        2. Read the pte, with no lock at all. Drop the address space.

    Returns:
        The frame, or None where no page is present.

    Raises:
        SyscallError: ESRCH.
    """
    if not await get_task_mm(mm, PAGEMAP["1"]):
        raise SyscallError(ESRCH)
    cell = mm.ptes.get((address & ULONG_MASK) >> PAGE_SHIFT)
    pfn = None
    if cell is not None:
        pte = await cell.read(PAGEMAP["2"])
        pfn = pte.pfn if pte.present and not pte.special else None
    await mmput(g, mm)
    return pfn
