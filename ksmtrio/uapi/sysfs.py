# SPDX-License-Identifier: GPL-2.0-or-later
"""sysfs: one function for each file, and a look-up by path. Kernel: fs/sysfs/file.c, v2.6.33.

Tests: `tests/unit/test_sysfs.py`, `tests/unit/test_memory_block.py`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from errno import EACCES, EINVAL, EISDIR, ENOENT, ENOTDIR
from functools import partial
from typing import Final, NamedTuple

from ksmtrio.base.memory import (
    MemoryBlock,
    memory_block_change_state,
    remove_memory_block,
    show_mem_state,
    store_soft_offline_page,
)
from ksmtrio.errors import SyscallError
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.signal import errno_of
from ksmtrio.sched.points import Points
from ksmtrio.units import ULONG_MASK

OPEN = Points(__name__, "sysfs_open_file", "", "1")

MEMORY = "/sys/devices/system/memory"


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
        raise SyscallError(errno_of(ret))
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


async def write_soft_offline_page(g: Globals, text: str) -> int:
    """Write `/sys/devices/system/memory/soft_offline_page`: a physical address in bytes.

    Raises:
        SyscallError: EINVAL for no number, ENXIO for a frame that does not exist, or the errno of
            the operation.
    """
    address = strict_strtoull(text, base=0)
    if address is None:
        raise SyscallError(EINVAL)
    ret = await store_soft_offline_page(g, address)
    if ret:
        raise SyscallError(errno_of(ret))
    return len(text)


_DIGITS: Final = {
    0: re.compile(r"(?:0x0*([0-9a-f]{1,16})|0*([0-7]{1,22})|([1-9][0-9]{0,19}))\n?", re.IGNORECASE),
    10: re.compile(r"()()0*([0-9]{1,20})\n?"),
}


def strict_strtoull(text: str, *, base: int) -> int | None:
    """strict_strtoull(): the number a text holds, with at most a newline behind it.

    Kernel: lib/vsprintf.c, v2.6.33.

    Args:
        text: what was written.
        base: 10, or 0 for the prefixes of C.

    Returns:
        The number, or None when it is none or does not fit into 64 bits.
    """
    match = _DIGITS[base].fullmatch(text)
    if match is None:
        return None
    hexadecimal, octal, decimal = match.groups()
    number = int(hexadecimal or octal or decimal, 16 if hexadecimal else 8 if octal else 10)
    return number if number <= ULONG_MASK else None


class SysfsFile(NamedTuple):
    """A file: how it is read and written; None: it cannot be."""

    show: Callable[[], Awaitable[str]] | None = None
    store: Callable[[str], Awaitable[int]] | None = None


class Sysfs:
    """The tree under /sys, as a task of root sees it.

    Args:
        g: the kernel.
        blocks: memory blocks by number; the directory of one whose section was removed is gone.
    """

    def __init__(self, g: Globals, blocks: Sequence[MemoryBlock]) -> None:
        self._blocks = {f"{MEMORY}/{block.name}": block for block in blocks}
        self._files = {
            f"{MEMORY}/soft_offline_page": SysfsFile(store=partial(write_soft_offline_page, g)),
        }
        for directory, block in self._blocks.items():
            self._files[f"{directory}/state"] = SysfsFile(
                partial(_line, partial(read_memory_state, block)),
                partial(write_memory_state, g, block),
            )

    async def read(self, path: str) -> str:
        """Return the content of a file.

        Raises:
            SyscallError: ENOENT, ENOTDIR, EISDIR, or EACCES for a file that is only written.
        """
        show = (await self._open(path)).show
        if show is None:
            raise SyscallError(EACCES)
        return await show()

    async def write(self, path: str, text: str) -> int:
        """Write a file at once; return the number of bytes.

        Raises:
            SyscallError: ENOENT, ENOTDIR, EISDIR, EACCES for a file that is only read, or the errno
                of what the file does.
        """
        store = (await self._open(path)).store
        if store is None:
            raise SyscallError(EACCES)
        return await store(text)

    async def _open(self, path: str) -> SysfsFile:
        """Find a file.

        Kernel: fs/sysfs/file.c, sysfs_open_file(), v2.6.33.

        Steps:
            1. Look the path up; a removed memory block has no directory any more.
        """
        block = self._blocks.get(path.rpartition("/")[0])
        if block is not None and not await block.section.valid.read(OPEN["1"]):
            raise SyscallError(ENOENT)
        if path in self._files:
            return self._files[path]
        if any(path.startswith(f"{name}/") for name in self._files):
            raise SyscallError(ENOTDIR)
        below = f"{path.rstrip('/')}/"
        directory = path.startswith("/") and any(name.startswith(below) for name in self._files)
        raise SyscallError(EISDIR if directory else ENOENT)


async def _line(show: Callable[[], Awaitable[str]]) -> str:
    return f"{await show()}\n"
