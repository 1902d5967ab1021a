# SPDX-License-Identifier: GPL-2.0-or-later
"""File system benchmark: as `filesystem.py`, with 27 tasks and too few locks.

Bug: there are as many inode locks as blocks, 26, but 32 inodes: the task with inode 26 has no lock.
Depth 1: it fails in every execution. Corrected: a lock for each inode.

Source: fsbench_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing Using Controlled
Schedulers: An Empirical Study", TOPC 2016), after Flanagan, Godefroid, POPL 2005.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ksmtrio.sched import Program, bind

INODES: Final = 32
BLOCKS: Final = 26
TASKS: Final = 27


def create_all(p: Program, nr_locks: int) -> None:
    inode_locks = [p.lock(f"inode_lock[{index}]") for index in range(nr_locks)]
    inodes = [p.cell(f"inode[{index}]", 0) for index in range(INODES)]
    block_locks = [p.lock(f"block_lock[{index}]") for index in range(BLOCKS)]
    busy = [p.cell(f"busy[{index}]", False) for index in range(BLOCKS)]

    async def take_block(inode: int) -> None:
        """Look for a free block among half of them."""
        for offset in range(BLOCKS // 2):
            block = (2 * inode + offset) % BLOCKS
            await block_locks[block].acquire("take.1")
            free = not await busy[block].read("take.2")
            if free:
                await busy[block].write("take.3", True)
                await inodes[inode].write("take.4", block + 1)
            await block_locks[block].release("take.5")
            if free:
                return

    def creator(number: int) -> Callable[[], Awaitable[None]]:
        async def body() -> None:
            inode = number % INODES
            p.check(inode < nr_locks, f"inode {inode} has no lock")
            await inode_locks[inode].acquire("create.1")
            if await inodes[inode].read("create.2") == 0:
                await take_block(inode)
            await inode_locks[inode].release("create.3")

        return body

    for number in range(TASKS):
        p.task(f"creator{number}", creator(number))


fsbench = bind(create_all, BLOCKS)
fsbench_fixed = bind(create_all, INODES)
