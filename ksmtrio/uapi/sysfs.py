# SPDX-License-Identifier: GPL-2.0-or-later
"""sysfs files, by kernel path. KSM's knobs come with the whole kernel. Tests: `tests/unit/test_memory_block.py`."""

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

    The text is compared by prefix, up to its length, as store_mem_state() does.

    Raises:
        SyscallError: EINVAL for other words, or the errno of the operation.
    """
    if text and "online".startswith(text):
        online = True
    elif text and "offline".startswith(text):
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
