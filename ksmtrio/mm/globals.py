# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's global variables, in one object that every function of the model takes as `g`.

Wired by `machine.py`; decides nothing itself. Tests: through every other module.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from ksmtrio.kconfig import Kernel
from ksmtrio.locking.mutex import Mutex
from ksmtrio.mm.ksm_types import Ksm
from ksmtrio.mm.mm_types import AnonVma, MmStruct, Page, Token, Watchers
from ksmtrio.mm.mmzone import PerCpu, Section, Zone
from ksmtrio.mm.swap_types import SwapInfo, SwapperSpace
from ksmtrio.mm.sysfs_types import Attribute, SysfsDirectory
from ksmtrio.mm.task_types import TaskStruct
from ksmtrio.notifier import BlockingNotifierChain
from ksmtrio.sched.cell import SharedObject
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.tap import WRITE
from ksmtrio.units import Nid, Pfn, Vaddr


class UserAccessWatcher(Protocol):
    """Told of every user load and store, and of what the kernel does to address spaces."""

    def loaded(self, mm: MmStruct, address: Vaddr, half: int, value: Token, at: str) -> None:
        """A load returned `value`."""

    def stored(self, mm: MmStruct, address: Vaddr, half: int, value: Token, at: str) -> None:
        """A store of `value` took effect."""

    def unmapped(self, mm: MmStruct, start: Vaddr, end: Vaddr) -> None:
        """The range was unmapped; later mappings start as zeroes."""

    def inherited(self, parent: MmStruct, child: MmStruct, address: Vaddr) -> None:
        """A fork copied a pte that was not empty; told in the step that write-protects it."""

    def moved(self, mm: MmStruct, old: Vaddr, new: Vaddr) -> None:
        """An mremap moved a pte that was not empty; told in the step that fills the new one."""


class PipeBuffer(NamedTuple):
    """struct pipe_buffer: a page that vmsplice put into a pipe, and where it was mapped then."""

    mm: MmStruct
    address: Vaddr
    page: Page


DirectReclaim = Callable[[list[Zone]], Awaitable[int]]


async def _nothing_to_reclaim(_: list[Zone]) -> int:
    return 0


class Globals(SharedObject):
    """Everything that is a global variable in the kernel.

    Attributes:
        kernel: switches; asked exactly where the source differs.
        pages: pfn -> struct page, for all sections, removed ones included.
        sections: memory block number -> section.
        per_cpu: CPU -> its lists.
        pagevecs: whether pages go through per-CPU pagevecs on their way to an LRU list.
        offline_timeout_jiffies: how long offline_pages tries.
        mem_hotplug_mutex: held by hot-remove and its like in later kernels.
        swap: the swap area; without slots nothing can be swapped out.
        swapper_space: the swap cache.
        direct_reclaim: what an allocation does that finds no page: free some of these zones, return
            how many. Wired by the machine, since reclaim stands above the allocator.
        sysfs: directories of attributes, in order of creation.
        tasks: actor name -> its task, in order of the first look at it.
        user_access: watchers of user loads and stores.
        pipe_buffers: references on pages that tasks keep in pipes of their own.
    """

    def __init__(
        self,
        rt: Runtime,
        kernel: Kernel,
        *,
        watchers: Watchers,
        pagevecs: bool,
        offline_timeout_jiffies: int,
        swap_slots: int = 0,
    ) -> None:
        super().__init__(rt)
        self.kernel = kernel
        self.watchers = watchers
        self.pagevecs = pagevecs
        self.offline_timeout_jiffies = offline_timeout_jiffies
        self.pages: dict[Pfn, Page] = {}
        self.zones: dict[Nid, Zone] = {}
        self.sections: list[Section] = []
        self.per_cpu: list[PerCpu] = []
        self.ksm = Ksm(rt, self.pages)
        self.swap = SwapInfo(rt, swap_slots)
        self.swapper_space = SwapperSpace(rt, watchers)
        self.memory_chain = BlockingNotifierChain(rt, "memory_chain")
        self.pm_mutex: Mutex | None = None
        self.mem_hotplug_mutex = Mutex(self, "mem_hotplug_mutex")
        self.processes: list[MmStruct] = []
        self.anon_vmas: list[AnonVma] = []
        self.sysfs: list[SysfsDirectory] = []
        self.tasks: dict[str, TaskStruct] = {}
        self.direct_reclaim: DirectReclaim = _nothing_to_reclaim
        self.user_access: list[UserAccessWatcher] = []
        self.pipe_buffers: list[PipeBuffer] = []

    @property
    def name(self) -> str:
        """Empty: the variables are global."""
        return ""

    def section_of(self, pfn: Pfn) -> Section:
        """Return the section that holds `pfn`; arithmetic only."""
        return self.sections[pfn // (self.sections[0].end_pfn - self.sections[0].start_pfn)]

    def pfn_to_page(self, pfn: Pfn) -> Page:
        """Return the struct page of a frame; arithmetic only.

        Of a removed section it is an object whose every access is a use of freed memory.
        """
        return self.pages[pfn]

    def zone_of(self, page: Page) -> Zone:
        """page_zone()."""
        return self.zones[page.nid]

    def sysfs_create_group(self, path: str, attributes: Mapping[str, Attribute]) -> SysfsDirectory:
        """sysfs_create_group(): put a directory of attributes under /sys, if there is one."""
        directory = SysfsDirectory(self.rt, path, attributes)
        if self.kernel.CONFIG_SYSFS:
            self.sysfs.append(directory)
        return directory

    def trace(self, at: str, event: str, **fields: int | str) -> None:
        """Pass a tracepoint; costs nothing unless the execution is recorded."""
        if self.rt.recorder is not None:
            self.rt.recorder.tracepoint(at, event, dict(fields))

    def tell_pipe(self, mm: MmStruct) -> None:
        """A task has put a page into its pipe, or taken one out: nobody else sees that pipe."""
        recorder = self.rt.recorder
        if recorder is not None:
            name = f"pipe({mm.label})"
            recorder.aside(name, WRITE)
            recorder.remembered(name, [b for b in self.pipe_buffers if b.mm is mm])

    @property
    def this_cpu(self) -> PerCpu:
        """The current CPU's lists."""
        return self.per_cpu[self.rt.me.cpu]
