# SPDX-License-Identifier: GPL-2.0-or-later
"""sysfs files, by kernel path. KSM's knobs come with the whole kernel.

Tests: `tests/unit/test_memory_block.py`.
"""

from __future__ import annotations

from errno import EINVAL

from ksmtrio.base.memory import (
    MemoryBlock,
    memory_block_change_state,
    remove_memory_block,
    show_mem_state,
)
from ksmtrio.errors import SyscallError
from ksmtrio.mm.globals import Globals


async def write_memory_state(g: Globals, block: MemoryBlock, text: str) -> int:
    """Write `/sys/devices/system/memory/memoryN/state`; returns the number of bytes written.

    Word and text are compared up to the end of the shorter, as store_mem_state() does: a prefix
    of the word will do, and what follows the word, as a newline, does not matter.

    Raises:
        SyscallError: EINVAL for other words, or the errno of the operation.
    """
    if text and "online".startswith(text[:6]):
        online = True
    elif text and "offline".startswith(text[:7]):
        online = False
    else:
        raise SyscallError(EINVAL)
    ret = await memory_block_change_state(g, block, online=online)
    if ret:
        raise SyscallError(-ret)
    return len(text)


async def read_memory_state(block: MemoryBlock) -> str:
    """Read the state file."""
    return await show_mem_state(block)


async def eject_memory(g: Globals, block: MemoryBlock) -> int:
    """Have the architecture remove an offline block's section.

    Raises:
        SyscallError: EBUSY when the block is not offline.
    """
    ret = await remove_memory_block(g, block)
    if ret:
        raise SyscallError(-ret)
    return 0
