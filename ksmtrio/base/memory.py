# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory blocks and their states. Kernel: drivers/base/memory.c, v2.6.33; specification SM, RS.

Tests: `tests/unit/test_memory_block.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from errno import EBUSY, EINVAL, ENXIO
from functools import partial
from typing import Final

from ksmtrio.locking.mutex import Mutex
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory_failure import soft_offline_page
from ksmtrio.mm.memory_hotplug import (
    is_mem_section_removable,
    lock_memory_hotplug,
    online_pages,
    remove_memory,
    remove_section,
    unlock_memory_hotplug,
)
from ksmtrio.mm.mm_types import Watchers
from ksmtrio.mm.mmzone import Section
from ksmtrio.mm.page_flags import PG_RESERVED
from ksmtrio.mm.sysfs_types import Attribute, SysfsDirectory
from ksmtrio.mm.vsprintf import strict_strtoul
from ksmtrio.sched.cell import Cell, SharedObject
from ksmtrio.sched.points import Points
from ksmtrio.sched.runtime import Runtime
from ksmtrio.units import PAGE_SHIFT

MEM_STATE_ONLINE: Final = "online"
MEM_STATE_GOING_OFFLINE: Final = "going-offline"
MEM_STATE_OFFLINE: Final = "offline"

SM = Points(
    __name__,
    "memory_block_change_state",
    "SM",
    "1 2 2#2 3 3#2 3#3 4 5",
)
STORE = Points(__name__, "store_mem_state", "", "2")
SHOW = Points(__name__, "show_mem_state", "", "1")
RS = Points(__name__, "remove_section", "RS", "1 1#2 1#3 1#4 4 4#2 4#3")

MEMORY_SYSFS: Final = "/sys/devices/system/memory"

SOFT_OFFLINE = Points(__name__, "store_soft_offline_page", "", "1 1#2 2")


class MemoryBlock(SharedObject):
    """struct memory_block: `/sys/devices/system/memory/memoryN`, one section here.

    Attributes:
        state: read without a lock, changed under `state_mutex`.
        directory: its files, once it is registered.
    """

    __slots__ = ("directory", "section", "state", "state_mutex")

    def __init__(self, rt: Runtime, section: Section, watchers: Watchers) -> None:
        super().__init__(rt)
        self.section = section
        self.state: Cell[str] = Cell(
            self, "state", MEM_STATE_ONLINE, watchers.get("memory_block.state", ())
        )
        self.state_mutex = Mutex(self, "state_mutex")
        self.directory: SysfsDirectory | None = None

    @property
    def name(self) -> str:
        """Sysfs name."""
        return f"memory{self.section.number}"

    @property
    def path(self) -> str:
        """Where its files are."""
        return f"{MEMORY_SYSFS}/{self.name}"


async def memory_block_change_state(g: Globals, block: MemoryBlock, *, online: bool) -> int:
    """SM: write ``online`` or ``offline`` to a block's state file.

    Kernel: drivers/base/memory.c, memory_block_change_state() and memory_block_action(), v2.6.33;
    specification SM.1-5. Returns 0 or a negative errno.
    """
    required = MEM_STATE_OFFLINE if online else MEM_STATE_ONLINE
    await block.state_mutex.lock(SM["1"])
    ret = -EINVAL
    if await block.state.read(SM["2"]) == required and await block.section.valid.read(SM["2#2"]):
        if online:
            ret = await _online_section(g, block.section)
            if ret == 0:
                await block.state.write(SM["4"], MEM_STATE_ONLINE)
        else:
            await block.state.write(SM["3"], MEM_STATE_GOING_OFFLINE)
            ret = await remove_memory(g, block.section)
            if ret == 0:
                await block.state.write(SM["4"], MEM_STATE_OFFLINE)
            else:
                await block.state.write(SM["3#2"], MEM_STATE_ONLINE)
    await block.state_mutex.unlock(SM["5"])
    return ret


async def _online_section(g: Globals, section: Section) -> int:
    for pfn in range(section.start_pfn, section.end_pfn):
        if not await g.pfn_to_page(pfn).flags.test(SM["3#3"], PG_RESERVED):
            return -EBUSY
    return await online_pages(g, section)


async def store_mem_state(g: Globals, block: MemoryBlock, buf: str) -> int:
    """store_mem_state(): a word for a state.

    Kernel: drivers/base/memory.c, store_mem_state(), v2.6.33. Word and text are compared up to the
    end of the shorter: a prefix of the word will do, and what follows the word, as a newline, does
    not matter.

    Steps:
        1. The text is neither word: -EINVAL.
        2. The section is not present (removed): -EINVAL.
        3. SM.

    Returns:
        Bytes taken, or a negative errno.
    """
    ret = -EINVAL
    if not await block.section.valid.read(STORE["2"]):
        return ret
    if "online".startswith(buf[:6]):
        ret = await memory_block_change_state(g, block, online=True)
    elif "offline".startswith(buf[:7]):
        ret = await memory_block_change_state(g, block, online=False)
    return ret or len(buf)


async def show_mem_state(block: MemoryBlock) -> str:
    """show_mem_state(): lockless, so ``going-offline`` for as long as an offline takes."""
    return f"{await block.state.read(SHOW['1'])}\n"


async def show_mem_removable(g: Globals, block: MemoryBlock) -> str:
    """show_mem_removable(): 1 or 0. Advisory: nothing keeps the answer true."""
    return f"{await is_mem_section_removable(g, block.section):d}\n"


async def show_mem_phys_index(block: MemoryBlock) -> str:
    """show_mem_phys_index(): the section's number; never changes."""
    return f"{block.section.number:08x}\n"


async def show_phys_device(_: MemoryBlock) -> str:
    """show_phys_device(): what slot the memory is in; the architecture does not say."""
    return "0\n"


def memory_dev_init(g: Globals, blocks: Iterable[MemoryBlock]) -> None:
    """memory_dev_init(): the files about memory as a whole, and those of each block, at boot."""
    soft_offline = Attribute(store=partial(store_soft_offline_page, g))
    g.sysfs_create_group(MEMORY_SYSFS, {"soft_offline_page": soft_offline})
    for block in blocks:
        files = {
            "phys_index": Attribute(partial(show_mem_phys_index, block)),
            "state": Attribute(partial(show_mem_state, block), partial(store_mem_state, g, block)),
            "phys_device": Attribute(partial(show_phys_device, block)),
            "removable": Attribute(partial(show_mem_removable, g, block)),
        }
        block.directory = g.sysfs_create_group(block.path, files)


async def remove_memory_block(g: Globals, block: MemoryBlock) -> int:
    """RS: remove the section of an offline block. Returns 0, or -EBUSY when it is not offline.

    Who waits for the state mutex finds the block gone (RS.4).
    """
    await block.state_mutex.lock(RS["1"])
    ret = -EBUSY
    offline = await block.state.read(RS["1#2"]) == MEM_STATE_OFFLINE
    if offline and await block.section.valid.read(RS["1#3"]):
        held = g.kernel.proposed_soft_offline_holds_off_removal
        if held:
            await lock_memory_hotplug(g, RS["1#4"])
        await remove_section(g, block.section)
        if held:
            await unlock_memory_hotplug(g, RS["4#3"])
        if block.directory is not None:
            await block.directory.linked.write(RS["4"], False)
        ret = 0
    await block.state_mutex.unlock(RS["4#2"])
    return ret


async def store_soft_offline_page(g: Globals, buf: str) -> int:
    """Move what is in a frame elsewhere, and never use the frame again.

    Kernel: drivers/base/memory.c, store_soft_offline_page(), v2.6.33. Differs: capabilities are not
    modelled; every task is root's.

    Args:
        buf: a physical address in bytes, anywhere in the frame, in the notation of C.

    Returns:
        Bytes taken; -EINVAL for no number, -ENXIO where there is no frame; see `soft_offline_page`.
    """
    err, address = strict_strtoul(buf, 0)
    if err:
        return -EINVAL
    pfn = address >> PAGE_SHIFT
    held = g.kernel.proposed_soft_offline_holds_off_removal
    if held:
        await lock_memory_hotplug(g, SOFT_OFFLINE["1#2"])
    if pfn not in g.pages or not await g.section_of(pfn).valid.read(SOFT_OFFLINE["1"]):
        ret = -ENXIO
    else:
        # pfn_valid() keeps nothing: the section may be removed at any time from here on.
        ret = await soft_offline_page(g, pfn)
    if held:
        await unlock_memory_hotplug(g, SOFT_OFFLINE["2"])
    return ret or len(buf)
