# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory blocks and their states. Kernel: drivers/base/memory.c, v2.6.33; specification SM, RS.

Tests: `tests/unit/test_memory_block.py`.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENXIO
from typing import Final

from ksmtrio.locking.mutex import Mutex
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory_failure import soft_offline_page
from ksmtrio.mm.memory_hotplug import offline_pages, online_pages, remove_section
from ksmtrio.mm.mm_types import Watchers
from ksmtrio.mm.mmzone import Section
from ksmtrio.mm.page_flags import PG_RESERVED
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
SHOW = Points(__name__, "show_mem_state", "", "1")
RS = Points(__name__, "remove_section", "RS", "1 1#2 1#3 4")

SOFT_OFFLINE = Points(__name__, "store_soft_offline_page", "", "1")


class MemoryBlock(SharedObject):
    """struct memory_block: `/sys/devices/system/memory/memoryN`, one section here."""

    __slots__ = ("section", "state", "state_mutex")

    def __init__(self, rt: Runtime, section: Section, watchers: Watchers) -> None:
        super().__init__(rt)
        self.section = section
        self.state: Cell[str] = Cell(
            self, "state", MEM_STATE_ONLINE, watchers.get("memory_block.state", ())
        )
        self.state_mutex = Mutex(self, "state_mutex")

    @property
    def name(self) -> str:
        """Sysfs name."""
        return f"memory{self.section.number}"


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
            ret = await offline_pages(g, block.section)
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


async def show_mem_state(block: MemoryBlock) -> str:
    """Read a block's state file; lockless."""
    return await block.state.read(SHOW["1"])


async def remove_memory_block(g: Globals, block: MemoryBlock) -> int:
    """RS: remove the section of an offline block. Returns 0, or -EBUSY when it is not offline.

    Who waits for the state mutex finds the block gone (RS.4).
    """
    await block.state_mutex.lock(RS["1"])
    ret = -EBUSY
    offline = await block.state.read(RS["1#2"]) == MEM_STATE_OFFLINE
    if offline and await block.section.valid.read(RS["1#3"]):
        await remove_section(g, block.section)
        ret = 0
    await block.state_mutex.unlock(RS["4"])
    return ret


async def store_soft_offline_page(g: Globals, address: int) -> int:
    """Write a physical address to `/sys/devices/system/memory/soft_offline_page`.

    Kernel: drivers/base/memory.c, store_soft_offline_page(), v2.6.33.

    Args:
        address: physical, in bytes, anywhere in the frame.

    Returns:
        0; -ENXIO where there is no frame; see `soft_offline_page`.
    """
    pfn = address >> PAGE_SHIFT
    if pfn not in g.pages or not await g.section_of(pfn).valid.read(SOFT_OFFLINE["1"]):
        return -ENXIO
    return await soft_offline_page(g, pfn)
