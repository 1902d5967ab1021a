# SPDX-License-Identifier: GPL-2.0-or-later
"""File system: n tasks each give an inode a block, under a lock of the inode and one of the block.

There are 32 inodes and 26 blocks; task t wants inode t and looks for a free block from 2 t modulo
26 on, among half of them. Up to 13 tasks never meet; task t + 13 meets task t at one block, hence
2 ** (n - 13) inequivalent executions for 13 <= n <= 26. Locks of their own and words of their own
must not add to that.

Bug in `fsbench`, of 27 tasks: there are as many inode locks as blocks, so that the task with inode
26 has no lock. Depth 1: it fails in every execution. Corrected, and in all others: a lock for each
inode.

Source: Flanagan, Godefroid, "Dynamic Partial-Order Reduction for Model Checking Software", POPL
2005; measured as filesystem(n) in Abdulla, Aronis, Jonsson, Sagonas, "Optimal Dynamic Partial Order
Reduction", POPL 2014; fsbench_bad of SCTBench (Thomson, Donaldson, Betts, "Concurrency Testing
Using Controlled Schedulers: An Empirical Study", TOPC 2016). Where at most 26 tasks look for a
block, each finds one at its second look, and the bound of SCTBench makes no difference.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ksmtrio.sched import Program, bind

INODES: Final = 32
BLOCKS: Final = 26


def filesystem(p: Program, *, nr_tasks: int, nr_locks: int = INODES) -> None:
    inode_locks = [p.lock(f"inode_lock[{index}]") for index in range(nr_locks)]
    inodes = [p.cell(f"inode[{index}]", 0) for index in range(INODES)]
    block_locks = [p.lock(f"block_lock[{index}]") for index in range(BLOCKS)]
    busy = [p.cell(f"busy[{index}]", False) for index in range(BLOCKS)]

    async def take_block(inode: int) -> None:
        """Find a block that is not busy, from the inode's first choice on, and note it."""
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

    for number in range(nr_tasks):
        p.task(f"creator{number}", creator(number))


filesystem_13 = bind(filesystem, nr_tasks=13)
filesystem_14 = bind(filesystem, nr_tasks=14)
filesystem_16 = bind(filesystem, nr_tasks=16)
filesystem_18 = bind(filesystem, nr_tasks=18)
filesystem_19 = bind(filesystem, nr_tasks=19)
fsbench = bind(filesystem, nr_tasks=27, nr_locks=BLOCKS)
fsbench_fixed = bind(filesystem, nr_tasks=27)
