# SPDX-License-Identifier: GPL-2.0-or-later
"""File system: n tasks each give an inode a block, under a lock of the inode and one of the block.

No bug. There are 32 inodes and 26 blocks; task t wants inode t and looks for a free block from 2 t
modulo 26 on. Up to 13 tasks never meet; task t + 13 meets task t at one block, hence
2 ** (n - 13) inequivalent executions for 13 <= n <= 26. Locks of their own and words of their own
must not add to that.

Source: Flanagan, Godefroid, "Dynamic Partial-Order Reduction for Model Checking Software", POPL
2005; measured as filesystem(n) in Abdulla, Aronis, Jonsson, Sagonas, "Optimal Dynamic Partial Order
Reduction", POPL 2014.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ksmtrio.sched import Program, bind

INODES: Final = 32
BLOCKS: Final = 26


def filesystem(p: Program, nr_tasks: int) -> None:
    inode_locks = [p.lock(f"inode_lock[{index}]") for index in range(INODES)]
    inodes = [p.cell(f"inode[{index}]", 0) for index in range(INODES)]
    block_locks = [p.lock(f"block_lock[{index}]") for index in range(BLOCKS)]
    busy = [p.cell(f"busy[{index}]", False) for index in range(BLOCKS)]

    async def take_block(inode: int) -> None:
        """Find a block that is not busy, from the inode's first choice on, and note it."""
        block = 2 * inode % BLOCKS
        while True:
            await block_locks[block].acquire("take.1")
            if not await busy[block].read("take.2"):
                await busy[block].write("take.3", True)
                await inodes[inode].write("take.4", block + 1)
                await block_locks[block].release("take.5")
                return
            await block_locks[block].release("take.6")
            block = (block + 1) % BLOCKS

    def creator(number: int) -> Callable[[], Awaitable[None]]:
        async def body() -> None:
            inode = number % INODES
            await inode_locks[inode].acquire("create.1")
            if await inodes[inode].read("create.2") == 0:
                await take_block(inode)
            await inode_locks[inode].release("create.3")

        return body

    for number in range(nr_tasks):
        p.task(f"creator{number}", creator(number))


filesystem_13 = bind(filesystem, 13)
filesystem_14 = bind(filesystem, 14)
filesystem_16 = bind(filesystem, 16)
filesystem_18 = bind(filesystem, 18)
filesystem_19 = bind(filesystem, 19)
