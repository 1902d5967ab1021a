# SPDX-License-Identifier: GPL-2.0-or-later
"""Zones, pageblocks, sections and per-CPU lists. Kernel: include/linux/mmzone.h, v2.6.33.

One zone per node; a memory block is one section. Tests: `tests/unit/test_page_alloc.py`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.mm.mm_types import Page, Watchers
from ksmtrio.sched.cell import Cell, SharedObject
from ksmtrio.sched.guard import Guarded
from ksmtrio.sched.runtime import Runtime
from ksmtrio.units import Nid, Pfn

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState

MIGRATE_UNMOVABLE: Final = 0
MIGRATE_MOVABLE: Final = 2
MIGRATE_ISOLATE: Final = 4
MIGRATE_TYPES: Final = (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_ISOLATE)

LRU_INACTIVE_ANON: Final = "inactive_anon"
LRU_ACTIVE_ANON: Final = "active_anon"
LRU_UNEVICTABLE: Final = "unevictable"
LRU_LISTS: Final = (LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_UNEVICTABLE)
PAGEVEC_SIZE: Final = 14


class Zone(SharedObject):
    """struct zone.

    Attributes:
        free_list: migratetype -> free pages (order 0), most recently freed last.
        lru_list: LRU list name -> pages, most recently added last.
    """

    __slots__ = ("_free_list", "_lru_list", "lock", "lru_lock", "nid", "present_pages")

    free_list: Guarded[dict[int, deque[Page]]] = Guarded(
        lambda self, actor: self.lock.held_by(actor), "zone->lock"
    )
    lru_list: Guarded[dict[str, list[Page]]] = Guarded(
        lambda self, actor: self.lru_lock.held_by(actor), "zone->lru_lock"
    )

    def __init__(self, rt: Runtime, nid: Nid) -> None:
        super().__init__(rt)
        self.nid = nid
        self.lock = SpinLock(self, "lock", "zone.lock")
        self.lru_lock = SpinLock(self, "lru_lock", "zone.lru_lock")
        self._free_list: dict[int, deque[Page]] = {t: deque() for t in MIGRATE_TYPES}
        self._lru_list: dict[str, list[Page]] = {name: [] for name in LRU_LISTS}
        self.present_pages: Cell[int] = Cell(self, "present_pages", 0)

    @property
    def name(self) -> str:
        """As in ``zone(nid=0)``."""
        return f"zone(nid={self.nid})"


class Section(SharedObject):
    """struct mem_section: one memory block's frames.

    Attributes:
        number: section, and memory block, number.
        start_pfn, end_pfn: frames, half open.
        valid: the memmap exists.
        migratetypes: one cell a pageblock.
        one_zone: test_pages_in_a_zone(): all of it lies in one zone.
    """

    __slots__ = (
        "end_pfn",
        "migratetypes",
        "nid",
        "number",
        "one_zone",
        "pageblock_nr_pages",
        "start_pfn",
        "valid",
    )

    def __init__(
        self,
        rt: Runtime,
        number: int,
        nid: Nid,
        *,
        start_pfn: Pfn,
        nr_pages: int,
        pageblock_nr_pages: int,
        migratetype: int,
        one_zone: bool = True,
        watchers: Watchers,
    ) -> None:
        super().__init__(rt)
        self.one_zone = one_zone
        self.number = number
        self.nid = nid
        self.start_pfn = start_pfn
        self.end_pfn = start_pfn + nr_pages
        self.pageblock_nr_pages = pageblock_nr_pages
        self.valid: Cell[bool] = Cell(self, "valid", value=True)
        self.migratetypes: list[Cell[int]] = [
            Cell(self, f"migratetype[{i}]", migratetype, watchers.get("pageblock.migratetype", ()))
            for i in range(nr_pages // pageblock_nr_pages)
        ]

    @property
    def name(self) -> str:
        """As in ``section(1)``."""
        return f"section({self.number})"

    def pageblock_of(self, pfn: Pfn) -> Cell[int]:
        """Return the migratetype of the pageblock that holds `pfn`."""
        return self.migratetypes[(pfn - self.start_pfn) // self.pageblock_nr_pages]


class PerCpu(SharedObject):
    """Pagevecs and free lists of one CPU; touched only on that CPU.

    Attributes:
        lru_add: LRU list name -> pages waiting to be added, each with a reference.
        pcp: freed pages, most recent last; `private` holds the migratetype.
        worker: actor that runs a work item on this CPU for somebody else.
    """

    __slots__ = ("_lru_add", "_pcp", "cpu", "worker")

    lru_add: Guarded[dict[str, list[Page]]] = Guarded(
        lambda self, actor: actor.cpu == self.cpu or self.worker is actor, "being on that CPU"
    )
    pcp: Guarded[deque[Page]] = Guarded(
        lambda self, actor: actor.cpu == self.cpu or self.worker is actor, "being on that CPU"
    )

    def __init__(self, rt: Runtime, cpu: int) -> None:
        super().__init__(rt)
        self.cpu = cpu
        self.worker: ActorState | None = None
        self._lru_add: dict[str, list[Page]] = {name: [] for name in LRU_LISTS}
        self._pcp: deque[Page] = deque()

    @property
    def name(self) -> str:
        """As in ``cpu(0)``."""
        return f"cpu({self.cpu})"
