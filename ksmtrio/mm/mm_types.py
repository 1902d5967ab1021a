# SPDX-License-Identifier: GPL-2.0-or-later
"""Page, MmStruct, Vma, AnonVma. Kernel: include/linux/mm_types.h, include/linux/rmap.h, v2.6.33.

Which field is a cell and which is guarded by what follows the specification's table of cells and
guards (objects, section 5). Tests: `tests/unit/test_mm_types.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sortedcontainers import SortedDict

from ksmtrio.locking.bit_lock import BitLock
from ksmtrio.locking.rwsem import RwSem
from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.mm.page_flags import PAGE_FLAG_NAMES, PG_LOCKED
from ksmtrio.sched.cell import Cell, Counter, Flags, ReadWatched, SharedObject, Watcher
from ksmtrio.sched.guard import Guarded
from ksmtrio.sched.runtime import Runtime
from ksmtrio.units import PAGE_SHIFT, PAGES_PER_PTE_TABLE, Nid, Pfn, Vaddr, Vpn

if TYPE_CHECKING:
    from ksmtrio.mm.ksm_types import StableNode
    from ksmtrio.sched.actor_state import ActorState

Watchers = dict[str, tuple[Watcher, ...]]
"""Field, as ``page._count``, -> who is told of its writes; ``page.content.read``: of loads."""

Token = int
"""Half a page's bytes: equal tokens are equal bytes, ordered byte-wise; 0 is all zeroes."""


class MappingWord:
    """The word `page.mapping` when it is not NULL: a pointer with two tag bits.

    Compared by identity: one object per (target, tag).

    Attributes:
        ksm: PAGE_MAPPING_KSM is set (PAGE_MAPPING_ANON always is, file pages being left out).
        target: anon_vma, stable_node, or None for a KSM page that is not in the tree yet.
    """

    __slots__ = ("ksm", "target")

    def __init__(self, target: Any, *, ksm: bool) -> None:
        self.target = target
        self.ksm = ksm

    def __str__(self) -> str:
        target = "NULL" if self.target is None else self.target.name
        return f"{'ksm' if self.ksm else 'anon'}:{target}"


KSM_NULL: Final = MappingWord(None, ksm=True)
"""The word of a page that was upgraded to KSM but has no stable_node."""


class Page(SharedObject):
    """struct page of one frame, with the frame's content as two words.

    Attributes:
        pfn: frame number.
        nid: node; part of `flags` in the kernel, constant here.
        content: two cells, half a page each (marked accesses: they race by design).
        page_lock: the lock behind PG_locked.
    """

    __slots__ = (
        "_count",
        "_mapcount",
        "_waitqueue",
        "content",
        "flags",
        "index",
        "mapping",
        "nid",
        "page_lock",
        "pfn",
        "private",
    )

    def __init__(self, rt: Runtime, pfn: Pfn, nid: Nid, watchers: Watchers) -> None:
        super().__init__(rt)
        self.pfn = pfn
        self.nid = nid
        get = watchers.get
        self.flags = Flags(self, "flags", 0, PAGE_FLAG_NAMES, get("page.flags", ()))
        self._count = Counter(self, "_count", 0, get("page._count", ()))
        self._mapcount = Counter(self, "_mapcount", -1, get("page._mapcount", ()))
        self.mapping: Cell[MappingWord | None] = Cell(
            self, "mapping", None, get("page.mapping", ())
        )
        self.index: Cell[int] = Cell(self, "index", 0)
        self.private: Cell[int] = Cell(self, "private", 0)
        told = get("page.content", ()), get("page.content.read", ())
        self.content: tuple[Cell[Token], Cell[Token]] = (
            ReadWatched(self, "content[0]", 0, *told),
            ReadWatched(self, "content[1]", 0, *told),
        )
        self.page_lock = BitLock(self, "page_lock", self.flags, PG_LOCKED)
        self._waitqueue: WaitQueue | None = None

    @property
    def name(self) -> str:
        """As in ``page(pfn=3)``."""
        return f"page(pfn={self.pfn})"

    @property
    def page_waitqueue(self) -> WaitQueue:
        """page_waitqueue(): where waiters for PG_writeback sleep; made when first needed."""
        if self._waitqueue is None:
            self._waitqueue = WaitQueue(self, "wait")
        return self._waitqueue

    @property
    def count(self) -> Counter:
        """`_count`, the reference count."""
        return self._count

    @property
    def mapcount(self) -> Counter:
        """`_mapcount`: present ptes that map the page, minus 1."""
        return self._mapcount


class Pte(NamedTuple):
    """One page table entry; equality is pte_same().

    Attributes:
        kind: ``none``, ``present``, ``swap`` or ``migration``.
        pfn: frame mapped, or being migrated; of a swap entry: the slot's offset in the swap area.
        write: writable; for a migration entry: write kind.
        special: maps the zero page, has no struct page of its own.
    """

    kind: str
    pfn: Pfn = -1
    write: bool = False
    dirty: bool = False
    young: bool = False
    special: bool = False

    @property
    def present(self) -> bool:
        """Whether it maps a page."""
        return self.kind == "present"

    @property
    def none(self) -> bool:
        """Whether it is empty."""
        return self.kind == "none"

    @property
    def migration(self) -> bool:
        """Whether it is a migration entry."""
        return self.kind == "migration"

    @property
    def swap(self) -> bool:
        """Whether it is a swap entry."""
        return self.kind == "swap"

    def __str__(self) -> str:
        if self.kind == "none":
            return "none"
        bits = "w" * self.write + "d" * self.dirty + "y" * self.young + "z" * self.special
        what = "entry" if self.kind == "swap" else "pfn"
        return f"{self.kind}({what}={self.pfn}{',' if bits else ''}{bits})"


PTE_NONE: Final = Pte("none")


class AnonVma(SharedObject):
    """struct anon_vma: the vmas in which an anonymous page may be mapped.

    From a SLAB_DESTROY_BY_RCU slab: after its death it stays an anon_vma (unlocked, empty list)
    for RCU readers that were there before.
    """

    __slots__ = ("_head", "_name", "ksm_refcount", "lock", "word")

    type_stable: Final = True
    head: Guarded[list[Vma]] = Guarded(
        lambda self, actor: self.lock.held_by(actor), "anon_vma->lock"
    )

    def __init__(self, rt: Runtime, watchers: Watchers) -> None:
        super().__init__(rt)
        self._name = rt.creation_name("anon_vma")
        self.lock = SpinLock(self, "lock", "anon_vma.lock")
        self._head: list[Vma] = []
        self.ksm_refcount = Counter(
            self, "ksm_refcount", 0, watchers.get("anon_vma.ksm_refcount", ())
        )
        self.word = MappingWord(self, ksm=False)

    @property
    def name(self) -> str:
        """Creation path."""
        return self._name


class MemPolicy(NamedTuple):
    """struct mempolicy of include/linux/mempolicy.h; never changed once a vma points at it.

    Attributes:
        mode: MPOL_PREFERRED, MPOL_BIND or MPOL_INTERLEAVE.
        nodes: ascending; of MPOL_PREFERRED the one node, or none for the local one.
        flags: mode flags.
    """

    mode: int
    nodes: tuple[Nid, ...]
    flags: int = 0


def _may_read_vma(vma: Vma, actor: ActorState) -> bool:
    mm = vma.vm_mm
    if mm.mmap_sem.held_by(actor) or mm.mm_users.look() == 0:
        return True
    anon_vma = vma.anon_vma.look()
    return anon_vma is not None and anon_vma.lock.held_by(actor)


def _may_write_vma(vma: Vma, actor: ActorState) -> bool:
    mm = vma.vm_mm
    return mm.mmap_sem.write_held_by(actor) or mm.mm_users.look() == 0


class Vma(SharedObject):
    """struct vm_area_struct: a private anonymous mapping.

    Attributes:
        vm_start, vm_end: byte addresses, half open.
        vm_pgoff: page number of vm_start in the vma's own numbering.
        vm_flags: VM_* bits.
        vm_policy: where its pages are allocated; None: the default policy.
        anon_vma: set once, at the first write fault.
    """

    __slots__ = (
        "_name",
        "_vm_end",
        "_vm_flags",
        "_vm_pgoff",
        "_vm_policy",
        "_vm_start",
        "anon_vma",
        "vm_mm",
    )

    vm_start: Guarded[Vaddr] = Guarded(_may_read_vma, "mmap_sem", _may_write_vma)
    vm_end: Guarded[Vaddr] = Guarded(_may_read_vma, "mmap_sem", _may_write_vma)
    vm_pgoff: Guarded[int] = Guarded(_may_read_vma, "mmap_sem", _may_write_vma)
    vm_flags: Guarded[int] = Guarded(_may_read_vma, "mmap_sem", _may_write_vma)
    vm_policy: Guarded[MemPolicy | None] = Guarded(_may_read_vma, "mmap_sem", _may_write_vma)

    def __init__(
        self,
        rt: Runtime,
        mm: MmStruct,
        start: Vaddr,
        end: Vaddr,
        *,
        flags: int,
        pgoff: int | None = None,
    ) -> None:
        super().__init__(rt)
        self._name = rt.creation_name("vma")
        self.vm_mm = mm
        self._vm_start = start
        self._vm_end = end
        self._vm_flags = flags
        self._vm_pgoff = start >> PAGE_SHIFT if pgoff is None else pgoff
        self._vm_policy: MemPolicy | None = None
        self.anon_vma: Cell[AnonVma | None] = Cell(self, "anon_vma", None)

    @property
    def name(self) -> str:
        """Creation path."""
        return self._name

    def linear_page_index(self, address: Vaddr) -> int:
        """Return the page offset of `address` within the vma's numbering."""
        return ((address - self._vm_start) >> PAGE_SHIFT) + self._vm_pgoff

    def address_of_index(self, index: int) -> Vaddr | None:
        """vma_address(): where page `index` would be, or None if outside the vma."""
        address: Vaddr = self.vm_start + ((index - self._vm_pgoff) << PAGE_SHIFT)
        return address if self._vm_start <= address < self._vm_end else None


class ThreadGroup(SharedObject):
    """The threads of one process, as far as others find an address space through them.

    Attributes:
        threads: those whose tsk->mm is not NULL yet; what is done under task_lock is one step.
    """

    __slots__ = ("label", "threads")

    def __init__(self, rt: Runtime, label: str) -> None:
        super().__init__(rt)
        self.label = label
        self.threads = Counter(self, "threads", 1)

    @property
    def name(self) -> str:
        """As in ``threads(A)``."""
        return f"threads({self.label})"


class MmStruct(SharedObject):
    """struct mm_struct: one address space.

    Attributes:
        label: process name.
        mm_users: users of the address space; 0 means that it is being torn down.
        mm_count: references to the structure.
        group: whose address space it is.
        flags: MMF_VM_MERGEABLE.
        on_mmlist: whether swapoff looks here; written under mmlist_lock.
        vmas: ascending by address.
    """

    __slots__ = (
        "_ptls",
        "_vmas",
        "_watchers",
        "flags",
        "group",
        "label",
        "mm_count",
        "mm_users",
        "mmap_sem",
        "on_mmlist",
        "page_table_lock",
        "ptes",
    )

    vmas: Guarded[tuple[Vma, ...]] = Guarded(
        lambda self, actor: self.mmap_sem.held_by(actor) or self.mm_users.look() == 0,
        "mmap_sem",
        lambda self, actor: self.mmap_sem.write_held_by(actor) or self.mm_users.look() == 0,
    )

    def __init__(self, rt: Runtime, label: str, watchers: Watchers) -> None:
        super().__init__(rt)
        self.label = label
        self.mm_users = Counter(self, "mm_users", 1)
        self.mm_count = Counter(self, "mm_count", 1)
        self.group = ThreadGroup(rt, label)
        self.flags = Flags(self, "flags", 0, {MMF_VM_MERGEABLE: "MMF_VM_MERGEABLE"})
        self.mmap_sem = RwSem(self, "mmap_sem")
        self.on_mmlist: Cell[bool] = Cell(self, "mmlist", value=False)
        self.page_table_lock = SpinLock(self, "page_table_lock")
        self._vmas: tuple[Vma, ...] = ()
        self.ptes: SortedDict[Vpn, Cell[Pte]] = SortedDict()
        self._ptls: dict[int, SpinLock] = {}
        self._watchers = watchers.get("pte", ())

    @property
    def name(self) -> str:
        """As in ``mm(A)``."""
        return f"mm({self.label})"

    def pte(self, address: Vaddr) -> Cell[Pte]:
        """Return the entry for `address`; page tables above it always exist."""
        vpn = address >> PAGE_SHIFT
        cell: Cell[Pte] | None = self.ptes.get(vpn)
        if cell is None:
            cell = Cell(self, f"pte[{vpn:#x}]", PTE_NONE, self._watchers)
            self.ptes[vpn] = cell
        return cell

    def ptl(self, address: Vaddr) -> SpinLock:
        """Return the split pte lock: one per page-table page of 512 entries."""
        table = (address >> PAGE_SHIFT) // PAGES_PER_PTE_TABLE
        lock = self._ptls.get(table)
        if lock is None:
            lock = self._ptls[table] = SpinLock(self, f"ptl[{table:#x}]", "pte_lock")
        return lock


MMF_VM_MERGEABLE: Final = 1 << 16

VM_READ: Final = 0x1
VM_WRITE: Final = 0x2
VM_EXEC: Final = 0x4
VM_SHARED: Final = 0x8
VM_MAYSHARE: Final = 0x80
VM_PFNMAP: Final = 0x400
VM_LOCKED: Final = 0x2000
VM_IO: Final = 0x4000
VM_SEQ_READ: Final = 0x8000
VM_RAND_READ: Final = 0x10000
VM_DONTCOPY: Final = 0x20000
VM_DONTEXPAND: Final = 0x40000
VM_RESERVED: Final = 0x80000
VM_HUGETLB: Final = 0x400000
VM_NONLINEAR: Final = 0x800000
VM_INSERTPAGE: Final = 0x2000000
VM_MIXEDMAP: Final = 0x10000000
VM_SAO: Final = 0x20000000
VM_MERGEABLE: Final = 0x80000000


def page_stable_node_of(word: MappingWord | None) -> StableNode | None:
    """Return the stable_node in a mapping word, or None if it is no KSM word or has none."""
    if word is None or not word.ksm:
        return None
    node: StableNode | None = word.target
    return node


async def page_anon(page: Page, at: str) -> bool:
    """PageAnon(): true for KSM pages too. Kernel: include/linux/mm.h."""
    return await page.mapping.read(at) is not None


async def page_ksm(page: Page, at: str) -> bool:
    """PageKsm(). Kernel: include/linux/ksm.h."""
    word = await page.mapping.read(at)
    return word is not None and word.ksm


async def page_stable_node(page: Page, at: str) -> StableNode | None:
    """page_stable_node(): the node in `mapping`, NULL for a KSM page that has none."""
    return page_stable_node_of(await page.mapping.read(at))


async def page_anon_vma(page: Page, at: str) -> AnonVma | None:
    """page_anon_vma(): NULL for KSM pages."""
    word = await page.mapping.read(at)
    if word is None or word.ksm:
        return None
    anon_vma: AnonVma = word.target
    return anon_vma


async def page_mapped(page: Page, at: str) -> bool:
    """page_mapped(): some pte maps it."""
    return await page.mapcount.read(at) >= 0


async def page_mapcount(page: Page, at: str) -> int:
    """page_mapcount(): number of ptes that map it."""
    return await page.mapcount.read(at) + 1
