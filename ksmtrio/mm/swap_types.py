# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap area, swap cache and the block device's queue. Kernel: include/linux/swap.h, v2.6.33.

One swap area is all there is; its slots are numbered from 1. The functions are in swapfile*.py,
swap_state.py and page_io.py. Tests: `tests/unit/test_swapfile.py`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from ksmtrio.locking.spinlock import SpinLock
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.mm.mm_types import MmStruct, Page, Token, Watchers
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.cell import Cell, SharedObject
from ksmtrio.sched.guard import Guarded
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.tap import WRITE

SWAP_HAS_CACHE: Final = 1 << 30
"""Bit of a slot's word: the swap cache holds it. The rest counts the ptes.

Differs: 0x40 of a byte there, whose count goes on in other pages when it gets past 62, which adds
an -ENOMEM to swap_duplicate().
"""

SWAP_MAP_BAD: Final = SWAP_HAS_CACHE - 1
"""Word of a slot that is never handed out: number 0, the header."""

SwapEntry = int
"""Number of a slot, from 1; 0 stands for none."""


@attrs.frozen(eq=False)
class Bio:
    """struct bio: a page on its way to a slot (`write`) or from it; the swap cache holds it."""

    page: Page
    entry: SwapEntry
    write: bool


class SwapInfo(SharedObject):
    """struct swap_info_struct, with the globals of mm/swapfile.c.

    Attributes:
        swap_map: one word a slot.
        writeok: slots may be handed out; cleared by swapoff.
        nr_swap_pages: free slots; looked at without the lock by vm_swap_full().
        total: slots in all; total_swap_pages: the same, 0 once swapoff took the area away.
        disk: what the device holds, two cells a slot, half a page each.
        mmlist: address spaces that may have swap entries, for swapoff.
        mmlist_rings: lists of others that hang together, but not on swapoff's; see `mmlist_fork`.
        bios: the device's queue; served by the actor kind ``writeback``.
        device: stands for the device where it holds page locks: pages being read in.
    """

    __slots__ = (
        "_mmlist",
        "_mmlist_rings",
        "_swap_map",
        "_writeok",
        "bio_wait",
        "bios",
        "device",
        "disk",
        "mmlist_lock",
        "nr_swap_pages",
        "swap_lock",
        "total",
        "total_swap_pages",
    )

    swap_map: Guarded[list[int]] = Guarded(
        lambda self, actor: self.swap_lock.held_by(actor), "swap_lock"
    )
    writeok: Guarded[bool] = Guarded(lambda self, actor: self.swap_lock.held_by(actor), "swap_lock")
    mmlist: Guarded[tuple[MmStruct, ...]] = Guarded(
        lambda self, actor: self.mmlist_lock.held_by(actor), "mmlist_lock"
    )

    mmlist_rings: Guarded[tuple[tuple[MmStruct, ...], ...]] = Guarded(
        lambda self, actor: self.mmlist_lock.held_by(actor), "mmlist_lock"
    )

    def __init__(self, rt: Runtime, slots: int) -> None:
        super().__init__(rt)
        self.swap_lock = SpinLock(self, "swap_lock")
        self.mmlist_lock = SpinLock(self, "mmlist_lock")
        self._swap_map = [SWAP_MAP_BAD] + [0] * slots
        self._writeok = slots > 0
        self._mmlist: tuple[MmStruct, ...] = ()
        self._mmlist_rings: tuple[tuple[MmStruct, ...], ...] = ()
        self.nr_swap_pages: Cell[int] = Cell(self, "nr_swap_pages", slots)
        self.total_swap_pages: Cell[int] = Cell(self, "total_swap_pages", slots)
        self.total = slots
        self.disk: list[tuple[Cell[Token], Cell[Token]]] = [
            (Cell(self, f"disk[{slot}][0]", 0), Cell(self, f"disk[{slot}][1]", 0))
            for slot in range(slots + 1)
        ]
        self.bios: deque[Bio] = deque()
        self.bio_wait = WaitQueue(self, "bio_wait")
        self.device = ActorState(-1, "swap device", 0)

    @property
    def name(self) -> str:
        """Empty: the variables are global."""
        return ""

    def enqueue(self, bio: Bio) -> None:
        """Put a page into the device's queue, as part of the step just announced."""
        self.bios.append(bio)
        self._tell_bios()

    def dequeue(self) -> Bio:
        """Take the first page out of the device's queue, as part of the step just announced."""
        bio = self.bios.popleft()
        self._tell_bios()
        return bio

    def _tell_bios(self) -> None:
        """The queue is no cell: it is the device's, and no access to it could be torn."""
        recorder = self.rt.recorder
        if recorder is not None:
            recorder.aside("bios", WRITE)
            recorder.remembered("bios", self.bios)


class SwapperSpace(SharedObject):
    """swapper_space: the swap cache, entry -> page. Written under tree_lock, looked up without."""

    __slots__ = ("_watchers", "slots", "tree_lock")

    def __init__(self, rt: Runtime, watchers: Watchers) -> None:
        super().__init__(rt)
        self.tree_lock = SpinLock(self, "tree_lock", "swapper_space.tree_lock")
        self.slots: dict[SwapEntry, Cell[Page | None]] = {}
        self._watchers = watchers.get("swapper_space.slot", ())

    @property
    def name(self) -> str:
        """Kernel name of the variable."""
        return "swapper_space"

    def slot(self, entry: SwapEntry) -> Cell[Page | None]:
        """Return the tree's slot for an entry."""
        cell = self.slots.get(entry)
        if cell is None:
            cell = self.slots[entry] = Cell(self, f"slot[{entry}]", None, self._watchers)
        return cell
