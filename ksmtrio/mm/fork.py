# SPDX-License-Identifier: GPL-2.0-or-later
"""mmput(). Kernel: kernel/fork.c, v2.6.33; specification EX. Tests: `tests/unit/test_mmap.py`."""

from __future__ import annotations

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm import _ksm_exit
from ksmtrio.mm.mm_types import MMF_VM_MERGEABLE, MmStruct
from ksmtrio.mm.mmap import exit_mmap, mmdrop
from ksmtrio.mm.swapfile import mmlist_remove
from ksmtrio.sched.points import Points

MMPUT = Points(__name__, "mmput", "EX", "1 2 3 3/mmlist 3/mmlist#2")


async def mmput(g: Globals, mm: MmStruct) -> None:
    """mmput(): drop a user of the address space; the last one tears it down."""
    if await mm.mm_users.dec_and_test(MMPUT["1"]):
        if await mm.flags.test(MMPUT["2"], MMF_VM_MERGEABLE):
            await _ksm_exit(g, mm)
        await exit_mmap(g, mm)
        await mmlist_remove(g, mm, MMPUT["3"])
        await mmdrop(mm, MMPUT["3"])
