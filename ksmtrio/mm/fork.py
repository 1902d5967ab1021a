# SPDX-License-Identifier: GPL-2.0-or-later
"""get_task_mm(), exit_mm(), mmput(). Kernel: kernel/fork.c, v2.6.33; specification EX.

Tests: `tests/unit/test_mmap.py`.
"""

from __future__ import annotations

from errno import ESRCH

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm import _ksm_exit
from ksmtrio.mm.mm_types import MMF_VM_MERGEABLE, MmStruct
from ksmtrio.mm.mmap import exit_mmap, mmdrop
from ksmtrio.mm.swapfile import mmlist_remove
from ksmtrio.sched.points import Points

EXIT_MM = Points(__name__, "exit_mm", "", "1")
MMPUT = Points(__name__, "mmput", "EX", "1 2 3 3/mmlist 3/mmlist#2")


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
    """mmput(): drop a user of the address space; the last one tears it down."""
    if await mm.mm_users.dec_and_test(MMPUT["1"]):
        if await mm.flags.test(MMPUT["2"], MMF_VM_MERGEABLE):
            await _ksm_exit(g, mm)
        await exit_mmap(g, mm)
        await mmlist_remove(g, mm, MMPUT["3"])
        await mmdrop(mm, MMPUT["3"])
