# SPDX-License-Identifier: GPL-2.0-or-later
"""KSM's own structures: mm_slot, rmap_item, stable_node, the cursor and the globals of mm/ksm.c.

Kernel: mm/ksm.c, v2.6.33. Tests: `tests/unit/test_ksm_types.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ksmtrio.locking.mutex import Mutex
from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.mm.mm_types import AnonVma, MappingWord, MmStruct, Page, Watchers
from ksmtrio.sched.cell import Cell, SharedObject
from ksmtrio.sched.guard import Guarded
from ksmtrio.sched.runtime import Runtime
from ksmtrio.units import PAGE_SIZE, Pfn, Vaddr

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState

UNSTABLE_FLAG: Final = 0x100
STABLE_FLAG: Final = 0x200
SEQNR_MASK: Final = 0x0FF
PAGE_MASK: Final = ~(PAGE_SIZE - 1)

KSM_RUN_STOP: Final = 0
KSM_RUN_MERGE: Final = 1
KSM_RUN_UNMERGE: Final = 2
KSM_RUN_OFFLINE: Final = 4
"""Of later kernels: memory goes offline, ksmd must wait."""


def _has_mutex(obj: StableNode | RmapItem | KsmScan, actor: ActorState) -> bool:
    return _excludes_ksmd(obj.ksm, actor)


def _excludes_ksmd(ksm: Ksm, actor: ActorState) -> bool:
    """By ksm_thread_mutex or, in later kernels, by KSM_RUN_OFFLINE."""
    return ksm.ksm_thread_mutex.held_by(actor) or ksm.offliner is actor


def _has_page_lock(node: StableNode, actor: ActorState) -> bool:
    """I11: the hlist belongs to whoever holds the lock of the page at kpfn."""
    ref = node.kpfn.look()
    page = node.ksm.pages.get(ref) if isinstance(ref, int) else ref
    return page is not None and page.page_lock.held_by(actor)


class StableNode(SharedObject):
    """struct stable_node: a node of the stable tree, for one KSM page.

    Attributes:
        kpfn: frame number of its page; without `stable_node_by_pfn` the page object itself.
        hlist: rmap_items, most recently appended first.
        word: S + 3, the key in the page's mapping.
    """

    __slots__ = ("_hlist", "_name", "kpfn", "ksm", "word")

    hlist: Guarded[tuple[RmapItem, ...]] = Guarded(
        lambda self, actor: _has_mutex(self, actor) or _has_page_lock(self, actor),
        "ksm_thread_mutex or the lock of the page at kpfn",
        writers=_has_page_lock,
    )

    def __init__(self, rt: Runtime, ksm: Ksm, watchers: Watchers) -> None:
        super().__init__(rt)
        self._name = rt.creation_name("stable_node")
        self.ksm = ksm
        self.kpfn: Cell[Pfn | Page] = Cell(self, "kpfn", -1, watchers.get("stable_node.kpfn", ()))
        self._hlist: tuple[RmapItem, ...] = ()
        self.word = MappingWord(self, ksm=True)

    @property
    def name(self) -> str:
        """Creation path."""
        return self._name


class RmapItem(SharedObject):
    """struct rmap_item: what KSM knows of one (mm, address).

    Attributes:
        address: page address, with UNSTABLE_FLAG and seqnr, or STABLE_FLAG, in the low bits.
        anon_vma: valid while stable, or between hold and drop.
        oldchecksum: checksum at the last scan, None before the first.
        head: stable_node it hangs on, while stable.
    """

    __slots__ = ("_address", "_anon_vma", "_head", "_name", "_oldchecksum", "ksm", "mm")

    address: Guarded[Vaddr] = Guarded(
        lambda self, actor: (
            _has_mutex(self, actor)
            or (self._head is not None and _has_page_lock(self._head, actor))
        ),
        "ksm_thread_mutex",
        _has_mutex,
    )
    anon_vma: Guarded[AnonVma | None] = Guarded(
        lambda self, actor: (
            _has_mutex(self, actor)
            or (self._head is not None and _has_page_lock(self._head, actor))
        ),
        "ksm_thread_mutex",
        _has_mutex,
    )
    oldchecksum: Guarded[tuple[int, int] | None] = Guarded(_has_mutex, "ksm_thread_mutex")
    head: Guarded[StableNode | None] = Guarded(_has_mutex, "ksm_thread_mutex")

    def __init__(self, rt: Runtime, ksm: Ksm, mm: MmStruct, address: Vaddr) -> None:
        super().__init__(rt)
        self._name = rt.creation_name("rmap_item")
        self.ksm = ksm
        self.mm = mm
        self._address = address
        self._anon_vma: AnonVma | None = None
        self._oldchecksum: tuple[int, int] | None = None
        self._head: StableNode | None = None

    @property
    def name(self) -> str:
        """Creation path."""
        return self._name


class MmSlot(SharedObject):
    """struct mm_slot: one registered mm. The list head is a slot whose mm is None.

    Attributes:
        rmap_list: rmap_items in ascending address; looked at without ksm_thread_mutex by
            __ksm_exit, hence a cell.
    """

    __slots__ = ("_name", "ksm", "mm", "rmap_list")

    def __init__(self, rt: Runtime, ksm: Ksm, mm: MmStruct | None) -> None:
        super().__init__(rt)
        self._name = "ksm_mm_head" if mm is None else rt.creation_name("mm_slot")
        self.ksm = ksm
        self.mm = mm
        self.rmap_list: Cell[tuple[RmapItem, ...]] = Cell(self, "rmap_list", ())

    @property
    def name(self) -> str:
        """Creation path."""
        return self._name


class KsmScan(SharedObject):
    """struct ksm_scan: the one cursor.

    Attributes:
        mm_slot: current slot, or the head between full scans.
        address: next address to look at.
        rmap_list: index into the slot's rmap_list at which the next item is expected.
        seqnr: completed full scans.
    """

    __slots__ = ("_address", "_mm_slot", "_rmap_list", "ksm", "seqnr")

    mm_slot: Guarded[MmSlot] = Guarded(
        lambda self, actor: self.ksm.ksm_mmlist_lock.held_by(actor) or _has_mutex(self, actor),
        "ksm_mmlist_lock",
        lambda self, actor: self.ksm.ksm_mmlist_lock.held_by(actor),
    )
    address: Guarded[Vaddr] = Guarded(_has_mutex, "ksm_thread_mutex")
    rmap_list: Guarded[int] = Guarded(_has_mutex, "ksm_thread_mutex")

    def __init__(self, rt: Runtime, ksm: Ksm, head: MmSlot) -> None:
        super().__init__(rt)
        self.ksm = ksm
        self._mm_slot = head
        self._address = 0
        self._rmap_list = 0
        self.seqnr: Cell[int] = Cell(self, "seqnr", 0)

    @property
    def name(self) -> str:
        """Kernel name of the variable."""
        return "ksm_scan"


class Ksm(SharedObject):
    """The global variables of mm/ksm.c.

    Attributes:
        pages: pfn -> Page of the whole machine, for the dynamic guard of hlist.
        mm_list: slots in list order, without the head.
        list_empty: what a lockless look at the list sees.
        offline_wait: where ksmd waits for KSM_RUN_OFFLINE to go, in later kernels.
        offliner: who set that bit.
        stable_root, unstable_root: the trees, as lists in order of content. A walk from the root
            is a bisection. Differs: the kernel's red-black trees are balanced less strictly, so
            that a search there may meet other nodes on its way.
    """

    __slots__ = (
        "_mm_list",
        "_stable_root",
        "_unstable_root",
        "cursor",
        "head",
        "ksm_mmlist_lock",
        "ksm_pages_shared",
        "ksm_pages_sharing",
        "ksm_pages_unshared",
        "ksm_rmap_items",
        "ksm_run",
        "ksm_thread_mutex",
        "ksm_thread_pages_to_scan",
        "ksm_thread_sleep_millisecs",
        "ksm_thread_wait",
        "list_empty",
        "offline_wait",
        "offliner",
        "pages",
    )

    mm_list: Guarded[tuple[MmSlot, ...]] = Guarded(
        lambda self, actor: self.ksm_mmlist_lock.held_by(actor), "ksm_mmlist_lock"
    )
    stable_root: Guarded[list[StableNode]] = Guarded(_excludes_ksmd, "ksm_thread_mutex")
    unstable_root: Guarded[list[RmapItem]] = Guarded(
        lambda self, actor: self.ksm_thread_mutex.held_by(actor), "ksm_thread_mutex"
    )

    def __init__(self, rt: Runtime, pages: dict[Pfn, Page]) -> None:
        super().__init__(rt)
        self.pages = pages
        self.ksm_thread_mutex = Mutex(self, "ksm_thread_mutex")
        self.ksm_mmlist_lock = SpinLock(self, "ksm_mmlist_lock")
        self.ksm_thread_wait = WaitQueue(self, "ksm_thread_wait")
        self.offline_wait = WaitQueue(self, "ksm_run_offline")
        self.offliner: ActorState | None = None
        self.head = MmSlot(rt, self, None)
        self.cursor = KsmScan(rt, self, self.head)
        self._mm_list: tuple[MmSlot, ...] = ()
        self.list_empty: Cell[bool] = Cell(self, "list_empty", value=True)
        self._stable_root: list[StableNode] = []
        self._unstable_root: list[RmapItem] = []
        self.ksm_run: Cell[int] = Cell(self, "ksm_run", KSM_RUN_STOP)
        self.ksm_pages_shared: Cell[int] = Cell(self, "ksm_pages_shared", 0)
        self.ksm_pages_sharing: Cell[int] = Cell(self, "ksm_pages_sharing", 0)
        self.ksm_pages_unshared: Cell[int] = Cell(self, "ksm_pages_unshared", 0)
        self.ksm_rmap_items: Cell[int] = Cell(self, "ksm_rmap_items", 0)
        self.ksm_thread_pages_to_scan: Cell[int] = Cell(self, "pages_to_scan", 100)
        self.ksm_thread_sleep_millisecs: Cell[int] = Cell(self, "sleep_millisecs", 20)

    @property
    def name(self) -> str:
        """Empty: the variables are global."""
        return ""
