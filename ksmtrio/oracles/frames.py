# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames oracle: nobody uses memory that is offline or gone.

Covers I8, I30 to I33 as far as frames go, and accesses to a `struct page` whose memmap was removed.
The range is examined when its block goes offline and once more at rest; what a failed offline must
leave behind, when the block's state goes back. Tests: `tests/unit/test_oracles_frames.py`.
"""

# ruff: noqa: SLF001 - oracles look past the guards of guarded fields

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from ksmtrio.base.memory import MEM_STATE_GOING_OFFLINE, MEM_STATE_OFFLINE
from ksmtrio.mm.mmzone import MIGRATE_ISOLATE
from ksmtrio.mm.page_flags import PG_BUDDY, PG_LOCKED, PG_LRU, PG_RESERVED, flag_names
from ksmtrio.oracles.base import AT_REST, Findings
from ksmtrio.oracles.notices import Heard, NoticeOracle, access_text, death_text
from ksmtrio.sched.cell import Cell
from ksmtrio.units import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ksmtrio.base.memory import MemoryBlock
    from ksmtrio.machine import Machine
    from ksmtrio.mm.globals import Globals
    from ksmtrio.mm.mm_types import Page, Watchers
    from ksmtrio.mm.mmzone import Section
    from ksmtrio.units import Pfn

_FORBIDDEN = PG_LRU | PG_BUDDY | PG_LOCKED

ALLOCATOR: Final = "alloc_page"
"""Point of what the allocator does for whomever."""

Trouble = tuple[str, Cell[Any] | None]
"""What is wrong with a frame, and the cell that shows it."""


class FramesOracle(NoticeOracle):
    """No access to removed memmaps, no use of offlined frames."""

    name = "frames"
    description = "no offlined frame is mapped, listed or allocated, no removed memmap is touched"
    kinds: ClassVar[Mapping[str, bool]] = {"use-after-offline": True}

    g: Globals
    _blocks: list[MemoryBlock]

    def __init__(self) -> None:
        self._isolated: dict[Pfn, Cell[int]] = {}

    def watchers(self) -> Watchers:
        """States of memory blocks, frames leaving the buddy lists, references on offlined ones."""
        return {
            "memory_block.state": (self._on_state,),
            "page._count": (self._on_count,),
            "page.flags": (self._on_flags,),
        }

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Listen, and remember the machine."""
        super().attach(machine, findings)
        self.g = machine.g
        self._blocks = machine.memory_blocks

    def quiescent(self) -> None:
        """Examine every offline block again; no pageblock may be left isolated (I33)."""
        for block in self._blocks:
            if block.state.value == MEM_STATE_OFFLINE:
                self._examine(block.section, AT_REST)
            for cell in block.section.migratetypes:
                if cell.value == MIGRATE_ISOLATE:
                    self._at_rest(
                        "pageblock-left-isolated",
                        f"BUG: {cell.name} is ISOLATE, and nobody is offlining",
                    )
        for zone in self.g.zones.values():
            for page in zone._free_list[MIGRATE_ISOLATE]:
                self._at_rest(
                    "page-lost-to-isolation",
                    f"WARNING: {page.name} is on the ISOLATE free list of {zone.name} for good",
                )

    def _at_rest(self, kind: str, message: str) -> None:
        self.findings.report(self.name, kind, AT_REST, message, corrupting=False)

    def text(self, heard: Heard) -> str:
        """In KASAN's manner."""
        access = access_text(self.rt, heard)
        return f"BUG: KASAN: {heard.kind} in {heard.at}: {access}; memmap {death_text(heard.other)}"

    def _on_state(self, cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        """The block's owner is the MemoryBlock."""
        block: Any = cell.owner
        if new == MEM_STATE_OFFLINE:
            self._examine(block.section, at)
        elif old == MEM_STATE_GOING_OFFLINE:
            self._undone(block.section, at)
        if old == MEM_STATE_GOING_OFFLINE:
            self._mutex(at)

    def _undone(self, section: Section, at: str) -> None:
        """I33: the offliner has undone all that it did; soft offline isolates for a moment, too."""
        for cell in section.migratetypes:
            if cell.value == MIGRATE_ISOLATE and cell.writer is self.rt.current:
                self.findings.report(
                    self.name,
                    "pageblock-left-isolated",
                    at,
                    f"BUG: {cell.name} is ISOLATE after a failed offline",
                    last=cell,
                    corrupting=False,
                )
        me = self.rt.current
        for mm in self.g.processes:
            for vpn, entry in mm.ptes.items():
                if entry.value.migration and entry.writer is me:
                    self.findings.report(
                        self.name,
                        "migration-entry-left",
                        at,
                        f"BUG: a failed offline leaves {entry.value} in {mm.name} at "
                        f"{vpn << PAGE_SHIFT:#x}",
                    )

    def _mutex(self, at: str) -> None:
        """I32, I33: KSM is let in again."""
        me = self.rt.current
        if me is not None and self.g.ksm.ksm_thread_mutex.held_by(me):
            self.findings.report(
                self.name,
                "mutex-held-after-offline",
                at,
                f"BUG: {me.name} still holds ksm_thread_mutex after its offline, in {at}",
                corrupting=False,
            )

    def _on_flags(self, cell: Cell[Any], old: Any, new: Any, _at: str) -> None:
        """I8: remember which frames leave the buddy lists out of an ISOLATE pageblock.

        Frames on per-CPU lists have left them already; IS drains those after marking the block.
        """
        if not old & ~new & PG_BUDDY:
            return
        page: Any = cell.owner
        migratetype = self.g.section_of(page.pfn).pageblock_of(page.pfn)
        if migratetype.value == MIGRATE_ISOLATE:
            self._isolated[page.pfn] = migratetype

    def _on_count(self, cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        """A frame comes to life: I8, and one that the allocator owns no more (I31).

        Onlining clears PG_reserved first.
        """
        if old != 0 or new <= 0:
            return
        page: Any = cell.owner
        migratetype = self._isolated.pop(page.pfn, None)
        if page.flags.value & PG_RESERVED:
            self.findings.report(
                self.name,
                "offlined-frame-allocated",
                at,
                f"BUG: offlined frame allocated at {at}: {page.name}, "
                f"flags {flag_names(page.flags.value)}",
                last=page.flags,
            )
        elif migratetype is not None and migratetype.value == MIGRATE_ISOLATE:
            self.findings.report(
                self.name,
                "isolated-frame-allocated",
                ALLOCATOR,
                f"WARNING: {page.name} of an ISOLATE pageblock is handed out in {at}",
                last=migratetype,
                corrupting=False,
            )

    def _examine(self, section: Section, at: str) -> None:
        start, end = section.start_pfn, section.end_pfn
        for page, (what, cell) in self._troubles(start, end):
            self.findings.report(
                self.name,
                "offlined-frame-in-use",
                at,
                f"BUG: offlined frame in use: {page.name} of {section.name} {what}",
                last=cell,
            )

    def _troubles(self, start: int, end: int) -> Iterator[tuple[Page, Trouble]]:
        """Yield what breaks I31 in a range, the most telling first."""
        pages = self.g.pages
        yield from self._mapped(start, end)
        for where, listed in self._lists():
            for page in listed:
                if start <= page.pfn < end:
                    yield page, (f"is on {where}", None)
        for pfn in range(start, end):
            page = pages[pfn]
            if page.dead is None:
                trouble = _state_trouble(page)
                if trouble is not None:
                    yield page, trouble

    def _mapped(self, start: int, end: int) -> Iterator[tuple[Page, Trouble]]:
        for mm in self.g.processes:
            for vpn, cell in mm.ptes.items():
                pte = cell.value
                if (pte.present or pte.migration) and not pte.special and start <= pte.pfn < end:
                    where = f"{mm.name} at {vpn << PAGE_SHIFT:#x}"
                    yield self.g.pages[pte.pfn], (f"is in a {pte.kind} pte of {where}", cell)

    def _lists(self) -> Iterator[tuple[str, list[Page]]]:
        """Yield every list that may hold pages; private isolation lists cannot be seen."""
        g = self.g
        for zone in g.zones.values():
            for name, lru in zone._lru_list.items():
                yield f"{zone.name}'s {name} list", lru
            for migratetype, free in zone._free_list.items():
                yield f"{zone.name}'s free list {migratetype}", list(free)
        for cpu in g.per_cpu:
            for name, pagevec in cpu._lru_add.items():
                yield f"{cpu.name}'s {name} pagevec", pagevec
            yield f"{cpu.name}'s free list", list(cpu._pcp)
        cached = [slot.value for slot in g.swapper_space.slots.values()]
        yield "the swap cache", [page for page in cached if page is not None]


def _state_trouble(page: Page) -> Trouble | None:
    """Return what is wrong with an offlined frame's struct page."""
    if page.count.value != 0:
        return f"has _count {page.count.value}", page.count
    if page.mapcount.value != -1:
        return f"has _mapcount {page.mapcount.value}", page.mapcount
    if page.mapping.value is not None:
        return f"has mapping {page.mapping.value}", page.mapping
    flags = page.flags.value
    if flags & _FORBIDDEN or not flags & PG_RESERVED:
        return f"has flags {flag_names(flags)}", page.flags
    return None
