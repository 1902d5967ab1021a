# SPDX-License-Identifier: GPL-2.0-or-later
"""sysfs, by kernel path: `read` and `write` for any file, and one function a file.

`read` and `write` are open(2), one read(2) or write(2), and close(2), done by root: text with the
newlines that the kernel writes. The functions of single files give and take what the text means.
A character stands for a byte. Tests: `tests/unit/test_sysfs.py`, `tests/unit/test_memory_block.py`.
"""

from __future__ import annotations

from errno import EACCES, EISDIR, ENOENT, ENOTDIR

from ksmtrio.base.memory import MEMORY_SYSFS, MemoryBlock, remove_memory_block
from ksmtrio.errors import SyscallError
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_sysfs import KSM_SYSFS
from ksmtrio.mm.signal import errno_of
from ksmtrio.mm.sysfs_types import Attribute
from ksmtrio.sched.points import Points
from ksmtrio.uapi.answer import system_call
from ksmtrio.units import PAGE_SIZE

OPEN = Points(__name__, "sysfs_open_file", "", "1")


async def _open(g: Globals, path: str) -> Attribute:
    """sysfs_open_file(): find an attribute.

    Steps:
        1. Look whether its directory is still there.

    Raises:
        SyscallError: ENOENT, EISDIR for a directory, ENOTDIR below a file.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/"):
        raise SyscallError(ENOENT)
    for directory in g.sysfs:
        above = directory.path.split("/")[1:]
        inside = len(parts) > len(above) and parts[: len(above)] == above
        if not inside and parts != above[: len(parts)]:
            continue
        if not await directory.linked.read(OPEN["1"]):
            continue
        if not inside:
            raise SyscallError(EISDIR)
        attribute = directory.attributes.get(parts[len(above)])
        if attribute is not None:
            if len(parts) > len(above) + 1 or path.endswith("/"):
                raise SyscallError(ENOTDIR)
            return attribute
    raise SyscallError(ENOENT)


@system_call
async def read(g: Globals, path: str) -> str:
    """Read a file of sysfs.

    Raises:
        SyscallError: as for a file that is not there; EACCES where there is nothing to show, even
            for root.
    """
    attribute = await _open(g, path)
    if attribute.show is None:
        raise SyscallError(EACCES)
    return await attribute.show()


@system_call
async def write(g: Globals, path: str, text: str) -> int:
    """Write a file of sysfs; return the number of bytes written.

    Text beyond a page is cut off; of no text at all the file's owner is not told.

    Raises:
        SyscallError: as for a file that is not there; EACCES for a read-only file, even for root;
            EINTR for a signal; otherwise what the file answers.
    """
    attribute = await _open(g, path)
    if attribute.store is None:
        raise SyscallError(EACCES)
    if not text:
        return 0
    ret = await attribute.store(text[: PAGE_SIZE - 1])
    if ret < 0:
        raise SyscallError(errno_of(ret))
    return ret


# -- /sys/kernel/mm/ksm ----------------------------------------------------------------------------


async def read_ksm_run(g: Globals) -> int:
    """Read `run`: 0 stopped, 1 scanning, 2 taken apart."""
    return int(await read(g, f"{KSM_SYSFS}/run"))


async def write_ksm_run(g: Globals, text: str) -> int:
    """Write `run`: EINVAL for what is not 0, 1 or 2; 2 also ENOMEM and EINTR."""
    return await write(g, f"{KSM_SYSFS}/run", text)


async def read_ksm_pages_to_scan(g: Globals) -> int:
    """Read `pages_to_scan`, how many pages ksmd scans before it sleeps."""
    return int(await read(g, f"{KSM_SYSFS}/pages_to_scan"))


async def write_ksm_pages_to_scan(g: Globals, text: str) -> int:
    """Write `pages_to_scan`: EINVAL for what is not an unsigned int."""
    return await write(g, f"{KSM_SYSFS}/pages_to_scan", text)


async def read_ksm_sleep_millisecs(g: Globals) -> int:
    """Read `sleep_millisecs`, how long ksmd sleeps."""
    return int(await read(g, f"{KSM_SYSFS}/sleep_millisecs"))


async def write_ksm_sleep_millisecs(g: Globals, text: str) -> int:
    """Write `sleep_millisecs`: EINVAL for what is not an unsigned int."""
    return await write(g, f"{KSM_SYSFS}/sleep_millisecs", text)


async def read_ksm_pages_shared(g: Globals) -> int:
    """Read `pages_shared`, the KSM pages."""
    return int(await read(g, f"{KSM_SYSFS}/pages_shared"))


async def read_ksm_pages_sharing(g: Globals) -> int:
    """Read `pages_sharing`, how many more places share them."""
    return int(await read(g, f"{KSM_SYSFS}/pages_sharing"))


async def read_ksm_pages_unshared(g: Globals) -> int:
    """Read `pages_unshared`, the candidates in the unstable tree."""
    return int(await read(g, f"{KSM_SYSFS}/pages_unshared"))


async def read_ksm_pages_volatile(g: Globals) -> int:
    """Read `pages_volatile`, what changes too fast for a tree."""
    return int(await read(g, f"{KSM_SYSFS}/pages_volatile"))


async def read_ksm_full_scans(g: Globals) -> int:
    """Read `full_scans`."""
    return int(await read(g, f"{KSM_SYSFS}/full_scans"))


# -- /sys/devices/system/memory --------------------------------------------------------------------


async def read_memory_state(g: Globals, block: MemoryBlock) -> str:
    """Read a block's `state`: online, going-offline or offline."""
    return (await read(g, f"{block.path}/state")).strip()


async def write_memory_state(g: Globals, block: MemoryBlock, text: str) -> int:
    """Write a block's `state`, online or offline; EINVAL for other words and in the wrong state."""
    return await write(g, f"{block.path}/state", text)


async def read_memory_removable(g: Globals, block: MemoryBlock) -> bool:
    """Read a block's `removable`: whether an offline has a chance."""
    return bool(int(await read(g, f"{block.path}/removable")))


async def read_memory_phys_index(g: Globals, block: MemoryBlock) -> int:
    """Read a block's `phys_index`, its section number."""
    return int(await read(g, f"{block.path}/phys_index"), 16)


async def read_memory_phys_device(g: Globals, block: MemoryBlock) -> int:
    """Read a block's `phys_device`, 0 on this architecture."""
    return int(await read(g, f"{block.path}/phys_device"))


async def write_soft_offline_page(g: Globals, text: str) -> int:
    """Write `soft_offline_page`: a physical address in bytes, in the notation of C.

    Raises:
        SyscallError: EINVAL for no number, ENXIO for a frame that does not exist, or the errno of
            the operation.
    """
    return await write(g, f"{MEMORY_SYSFS}/soft_offline_page", text)


@system_call
async def eject_memory(g: Globals, block: MemoryBlock) -> int:
    """Have the architecture remove an offline block's section; not a file, but its end.

    Raises:
        SyscallError: EBUSY when the block is not offline.
    """
    ret = await remove_memory_block(g, block)
    if ret:
        raise SyscallError(-ret)
    return 0
