# SPDX-License-Identifier: GPL-2.0-or-later
"""What the page state oracle judges when the machine has come to rest.

Everything is counted from scratch: I1, I2, I3, I6, I14, I40, I41, and the swap map. Tests:
`tests/unit/test_oracles_page_state_rest.py`.
"""

# ruff: noqa: SLF001 - oracles look past the guards of guarded fields

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ksmtrio.mm.page_flags import (
    PG_HWPOISON,
    PG_LOCKED,
    PG_LRU,
    PG_RESERVED,
    PG_SWAPCACHE,
    PG_WRITEBACK,
    flag_names,
)
from ksmtrio.mm.swap_types import SWAP_HAS_CACHE
from ksmtrio.oracles.base import AT_REST
from ksmtrio.oracles.recount import Recount
from ksmtrio.units import PAGE_SHIFT, Pfn

if TYPE_CHECKING:
    from ksmtrio.mm.globals import Globals
    from ksmtrio.mm.mm_types import Page
    from ksmtrio.sched.cell import Cell, Death

_NEVER_FREE = PG_RESERVED | PG_HWPOISON
"""Count 0 and yet perhaps on no free list: offline, or taken out by soft offline."""


class Say(Protocol):
    """How a finding is reported; arguments as of `Findings.report`."""

    def __call__(
        self,
        kind: str,
        at: str,
        message: str,
        *,
        last: Cell[Any] | None = None,
        other: Death | None = None,
        corrupting: bool = True,
    ) -> None:
        """Report a finding."""


class RestJudge:
    """One judgement of a machine at rest.

    Args:
        g: the machine.
        say: reports a finding.
        held: references of the start state that nothing in the model accounts for, by frame.
        kept: references that a function should have given back itself, by frame.
    """

    def __init__(
        self, g: Globals, say: Say, held: dict[Pfn, int], kept: dict[Pfn, list[Death]]
    ) -> None:
        self.g = g
        self._say = say
        self._held = held
        self._kept = kept
        self._recount = Recount.of(g)

    def judge(self) -> None:
        """Compare everything."""
        self._ptes()
        self._swap()
        for page in self.g.pages.values():
            if page.dead is None:
                self._counts(page)
                self._lists(page)
                self._flags(page)
                if self._recount.ptes[page.pfn]:
                    self._mapping(page)

    def _ptes(self) -> None:
        """I6 and I40, seen from the page tables."""
        for mm in self.g.processes:
            for vpn, cell in mm.ptes.items():
                pte = cell.value
                where = f"{mm.name} at {vpn << PAGE_SHIFT:#x}"
                if pte.migration:
                    self._say(
                        "migration-entry-left",
                        AT_REST,
                        f"BUG: migration entry of pfn {pte.pfn} left in {where}",
                        last=cell,
                    )
                if not pte.present or pte.special or not pte.write:
                    continue
                page = self.g.pages[pte.pfn]
                word = page.mapping.value
                if word is not None and word.ksm:
                    self._say(
                        "writable-ksm-page",
                        AT_REST,
                        f"BUG: KSM {page.name} is mapped by a writable pte in {where}",
                        last=cell,
                    )
                elif page.mapcount.value > 0:
                    self._say(
                        "writable-shared-page",
                        AT_REST,
                        f"BUG: {page.name} is mapped {page.mapcount.value + 1} times, "
                        f"writable in {where}",
                        last=cell,
                    )

    def _swap(self) -> None:
        """The swap map: ptes and cache that hold each slot; free slots are counted."""
        g = self.g
        swap_map = g.swap._swap_map
        for entry in range(1, g.swap.total + 1):
            count = swap_map[entry] & ~SWAP_HAS_CACHE
            ptes = self._recount.slots[entry]
            if count != ptes:
                self._say(
                    "swap-count-mismatch",
                    AT_REST,
                    f"BUG: swap slot {entry} has count {count}, but {ptes} ptes hold it",
                )
            slot = g.swapper_space.slots.get(entry)
            cached = None if slot is None else slot.value
            if bool(swap_map[entry] & SWAP_HAS_CACHE) != (cached is not None):
                self._say(
                    "swap-cache-mismatch",
                    AT_REST,
                    f"BUG: swap slot {entry} has byte {swap_map[entry]:#x}, the swap cache holds "
                    f"{'nothing' if cached is None else cached.name} for it",
                )
            if cached is not None and cached.private.value != entry:
                self._say(
                    "swap-cache-mismatch",
                    AT_REST,
                    f"BUG: {cached.name} is in the swap cache for slot {entry}, "
                    f"its private is {cached.private.value}",
                )
        free = sum(1 for byte in swap_map[1:] if not byte)
        if g.swap._writeok and g.swap.nr_swap_pages.value != free:
            self._say(
                "nr-swap-pages-mismatch",
                AT_REST,
                f"BUG: nr_swap_pages is {g.swap.nr_swap_pages.value}, {free} slots are free",
            )

    def _counts(self, page: Page) -> None:
        """I1 and I2. References of the start state may be gone or still there."""
        pfn = page.pfn
        ptes = self._recount.ptes[pfn]
        count = page.count.value
        expected = self._recount.holders(pfn)
        if count not in (expected, expected + self._held.get(pfn, 0)):
            self._say(
                "refcount-leak" if count > expected else "refcount-mismatch",
                AT_REST,
                f"BUG: {page.name} has _count {count}, its holders account for {expected} "
                f"(last change by {_writer(page.count)})",
                other=self._kept[pfn][-1] if self._kept.get(pfn) else None,
            )
        if page.mapcount.value + 1 != ptes:
            self._say(
                "mapcount-mismatch",
                AT_REST,
                f"BUG: {page.name} has {page.mapcount.value + 1} mappings, but {ptes} ptes map it "
                f"(last change by {_writer(page.mapcount)})",
            )
        cached = self._recount.cached[pfn]
        if cached != page.flags.has(PG_SWAPCACHE):
            self._say(
                "swap-cache-mismatch",
                AT_REST,
                f"BUG: {page.name} is in {cached} slots of the swap cache with flags "
                f"{_flags(page)}",
            )

    def _lists(self, page: Page) -> None:
        """I3 for lists, and I41."""
        pfn = page.pfn
        lru, free = self._recount.lru[pfn], self._recount.free[pfn]
        reserved = page.flags.has(PG_RESERVED)
        if lru != page.flags.has(PG_LRU):
            self._say(
                "lru-mismatch",
                AT_REST,
                f"BUG: {page.name} is on {lru} LRU lists with flags {_flags(page)}",
            )
        elif self._recount.ptes[pfn] and not lru and not reserved:
            self._say(
                "mapped-page-not-on-lru",
                AT_REST,
                f"BUG: mapped {page.name} is on no LRU list, flags {_flags(page)}",
            )
        elif page.count.value > 0 and not lru and self._anonymous(page):
            self._say(
                "anon-page-not-on-lru",
                AT_REST,
                f"BUG: unmapped anonymous {page.name} is on no LRU list, flags {_flags(page)}",
            )
        if page.count.value > 0 and free:
            self._say(
                "free-page-in-use",
                AT_REST,
                f"BUG: {page.name} is on a free list with _count {page.count.value}",
            )
        elif page.count.value == 0 and free != 1 and not page.flags.value & _NEVER_FREE:
            self._say(
                "free-list-mismatch",
                AT_REST,
                f"BUG: {page.name} has _count 0 and is on {free} free lists",
            )

    def _anonymous(self, page: Page) -> bool:
        """Return whether a page that nothing maps is anonymous, and not somebody's from before."""
        cached = bool(self._recount.cached[page.pfn])
        return cached or (page.mapping.value is not None and page.pfn not in self._held)

    def _flags(self, page: Page) -> None:
        """I40."""
        if page.flags.value & (PG_LOCKED | PG_WRITEBACK):
            self._say(
                "page-left-locked",
                AT_REST,
                f"BUG: {page.name} left with flags {_flags(page)}",
            )

    def _mapping(self, page: Page) -> None:
        """I14: a mapped page names something that is alive."""
        word = page.mapping.value
        if word is None:
            self._say(
                "mapped-page-without-mapping",
                AT_REST,
                f"BUG: mapped {page.name} has no mapping",
                last=page.mapping,
            )
        elif word.target is not None and word.target.dead is not None:
            self._say(
                "dangling-mapping",
                AT_REST,
                f"BUG: mapped {page.name} has mapping {word}, which is {word.target.dead.kind}",
                other=word.target.dead,
            )


def _flags(page: Page) -> str:
    return flag_names(page.flags.value)


def _writer(cell: Cell[Any]) -> str:
    """Return who changed a cell last and where, for a message."""
    if cell.writer is None:
        return "the start state"
    return f"{cell.writer.name} at {cell.written_at}"
