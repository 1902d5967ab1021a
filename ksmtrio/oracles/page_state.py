# SPDX-License-Identifier: GPL-2.0-or-later
"""The page state oracle: reference counts, map counts and mapping words fit the page tables.

A ledger of present ptes is kept write by write; the rest is recounted at rest. While actors run:
the allocator's checks, counts that fall below their ledger (I1, I2, half of I6), a mapped page that
loses its mapping word (I14), a page unlocked with migration entries left (I4). At rest: I1, I2, I3,
I6, I14, I40, I41. Tests: `tests/unit/test_oracles_page_state.py`.
"""

# ruff: noqa: SLF001 - oracles look past the guards of guarded fields

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from ksmtrio.mm.page_flags import PG_LOCKED, PG_LRU, PG_RESERVED, PG_WRITEBACK, flag_names
from ksmtrio.oracles.base import AT_REST, Findings
from ksmtrio.oracles.notices import NoticeOracle
from ksmtrio.units import PAGE_SHIFT, Pfn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksmtrio.machine import Machine
    from ksmtrio.mm.globals import Globals
    from ksmtrio.mm.mm_types import Page, Pte, Watchers
    from ksmtrio.sched.cell import Cell, Death


@attrs.define
class Recount:
    """Who refers to each frame, counted from scratch.

    Attributes:
        ptes: present ptes that map it.
        pagevecs: pagevec entries, a reference each.
        lru: entries on LRU lists, which hold no reference.
        free: entries on free lists, buddy and per-CPU.
        swap_cache: slots of the swap cache that hold it, a reference each.
    """

    ptes: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    pagevecs: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    lru: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    free: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    swap_cache: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))

    @classmethod
    def of(cls, g: Globals) -> Recount:
        """Count page tables and lists."""
        self = cls()
        for mm in g.processes:
            for cell in mm.ptes.values():
                if cell.value.present and not cell.value.special:
                    self.ptes[cell.value.pfn] += 1
        for slot in g.swapper_space.slots.values():
            if slot.value is not None:
                self.swap_cache[slot.value.pfn] += 1
        for zone in g.zones.values():
            for lru in zone._lru_list.values():
                for page in lru:
                    self.lru[page.pfn] += 1
            for free in zone._free_list.values():
                for page in free:
                    self.free[page.pfn] += 1
        for cpu in g.per_cpu:
            for pagevec in cpu._lru_add.values():
                for page in pagevec:
                    self.pagevecs[page.pfn] += 1
            for page in cpu._pcp:
                self.free[page.pfn] += 1
        return self


class PageStateOracle(NoticeOracle):
    """Keeps the ledgers of `struct page`."""

    name = "page_state"
    description = "_count, _mapcount, mapping, flags and page tables agree"
    kinds: ClassVar[Mapping[str, bool]] = {"bad-page": True}

    g: Globals

    def __init__(self) -> None:
        self._ptes: defaultdict[Pfn, int] = defaultdict(int)
        self._writable: defaultdict[Pfn, int] = defaultdict(int)
        self._migrating: defaultdict[Pfn, int] = defaultdict(int)
        self._held: dict[Pfn, int] = {}
        self._pages: dict[Pfn, Page] = {}

    def watchers(self) -> Watchers:
        """Ptes and all of `struct page` that must agree with them."""
        return {
            "pte": (self._on_pte,),
            "page._count": (self._on_count,),
            "page._mapcount": (self._on_mapcount,),
            "page.mapping": (self._on_mapping,),
            "page.flags": (self._on_flags,),
        }

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Open the ledgers with the start state.

        References on a page that nothing maps belong to somebody outside the model (boot memory,
        pinned pages), who may keep them to the end.
        """
        super().attach(machine, findings)
        self.g = machine.g
        self._pages = machine.g.pages
        for ledger in (self._ptes, self._writable, self._migrating):
            ledger.clear()
        for mm in machine.g.processes:
            for cell in mm.ptes.values():
                self._enter(cell.value, 1)
        recount = Recount.of(machine.g)
        for pfn, page in machine.g.pages.items():
            if not recount.ptes[pfn] and page.count.value > recount.pagevecs[pfn]:
                self._held[pfn] = page.count.value - recount.pagevecs[pfn]

    # -- while actors run: one ledger entry a write --------------------------------------------

    def _enter(self, pte: Pte, delta: int) -> None:
        if pte.kind == "present":
            if not pte.special:
                self._ptes[pte.pfn] += delta
                if pte.write:
                    self._writable[pte.pfn] += delta
        elif pte.kind == "migration":
            self._migrating[pte.pfn] += delta

    def _on_pte(self, _cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        if old.kind != "none":
            self._enter(old, -1)
        if new.kind == "none":
            return
        self._enter(new, 1)
        if new.kind != "present" or new.special:
            return
        page = self._pages.get(new.pfn)
        if page is None:
            return
        count = page.count.value
        if count < self._ptes[new.pfn]:
            self._count_low(page, count, at, page.count)
        if new.write:
            word = page.mapping.value
            if word is not None and word.ksm:
                self._writable_ksm(page, at, page.mapping)

    def _on_count(self, cell: Cell[Any], _old: Any, new: Any, at: str) -> None:
        page: Any = cell.owner
        if new < self._ptes[page.pfn]:
            self._count_low(page, new, at, None)

    def _on_mapcount(self, cell: Cell[Any], _old: Any, new: Any, at: str) -> None:
        if new < -1:
            self._say(
                "mapcount-underflow",
                at,
                f"BUG: mapcount underflow in {at}: {cell.owner.name}, _mapcount {new}",
            )

    def _on_mapping(self, cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        page: Any = cell.owner
        if new is None:
            if page.mapcount.value >= 0:
                self._say(
                    "mapped-page-lost-mapping",
                    at,
                    f"BUG: {page.name} loses its mapping {old} in {at} while "
                    f"{page.mapcount.value + 1} ptes map it",
                    last=page.mapcount,
                )
        elif new.ksm and self._writable[page.pfn]:
            self._writable_ksm(page, at, None)

    def _on_flags(self, cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        """I4: the entries of a page are gone when it is unlocked. Noted; a fault will show it."""
        if old & ~new & PG_LOCKED:
            page: Any = cell.owner
            if self._migrating[page.pfn]:
                self._say(
                    "migration-entry-left",
                    at,
                    f"BUG: {page.name} unlocked in {at} with {self._migrating[page.pfn]} "
                    "migration entries left",
                    corrupting=False,
                )

    def _count_low(self, page: Page, count: int, at: str, last: Cell[Any] | None) -> None:
        ptes = self._ptes[page.pfn]
        kind = "refcount-underflow" if count < 0 else "refcount-below-ptes"
        self._say(
            kind,
            at,
            f"BUG: {page.name} in {at}: _count {count} is too low, {ptes} ptes map it",
            last=last,
        )

    def _writable_ksm(self, page: Page, at: str, last: Cell[Any] | None) -> None:
        self._say(
            "writable-ksm-page",
            at,
            f"BUG: KSM {page.name} is mapped by a writable pte, seen in {at}",
            last=last,
        )

    def _say(
        self,
        kind: str,
        at: str,
        message: str,
        *,
        last: Cell[Any] | None = None,
        other: Death | None = None,
        corrupting: bool = True,
    ) -> None:
        self.findings.report(
            self.name, kind, at, message, last=last, other=other, corrupting=corrupting
        )

    # -- at rest: recount ----------------------------------------------------------------------

    def quiescent(self) -> None:
        """Recount everything and compare."""
        recount = Recount.of(self.g)
        self._rest_ptes()
        for page in self.g.pages.values():
            if page.dead is None:
                self._rest_counts(page, recount)
                self._rest_lists(page, recount)
                self._rest_flags(page)
                if recount.ptes[page.pfn]:
                    self._rest_mapping(page)

    def _rest_ptes(self) -> None:
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
                    self._writable_ksm(page, AT_REST, cell)
                elif page.mapcount.value > 0:
                    self._say(
                        "writable-shared-page",
                        AT_REST,
                        f"BUG: {page.name} is mapped {page.mapcount.value + 1} times, "
                        f"writable in {where}",
                        last=cell,
                    )

    def _rest_counts(self, page: Page, recount: Recount) -> None:
        """I1 and I2. References of the start state may be gone or still there."""
        pfn = page.pfn
        ptes = recount.ptes[pfn]
        count = page.count.value
        expected = ptes + recount.pagevecs[pfn] + recount.swap_cache[pfn]
        if count not in (expected, expected + self._held.get(pfn, 0)):
            self._say(
                "refcount-leak" if count > expected else "refcount-mismatch",
                AT_REST,
                f"BUG: {page.name} has _count {count}, its holders account for {expected} "
                f"(last change by {_writer(page.count)})",
            )
        if page.mapcount.value + 1 != ptes:
            self._say(
                "mapcount-mismatch",
                AT_REST,
                f"BUG: {page.name} has {page.mapcount.value + 1} mappings, but {ptes} ptes map it "
                f"(last change by {_writer(page.mapcount)})",
            )

    def _rest_lists(self, page: Page, recount: Recount) -> None:
        """I3 for lists, and I41."""
        pfn = page.pfn
        lru, free = recount.lru[pfn], recount.free[pfn]
        on_lru = page.flags.has(PG_LRU)
        if lru != on_lru:
            self._say(
                "lru-mismatch",
                AT_REST,
                f"BUG: {page.name} is on {lru} LRU lists with flags {_flags(page)}",
            )
        elif recount.ptes[pfn] and not lru and not page.flags.has(PG_RESERVED):
            self._say(
                "mapped-page-not-on-lru",
                AT_REST,
                f"BUG: mapped {page.name} is on no LRU list, flags {_flags(page)}",
            )
        if page.count.value > 0 and free:
            self._say(
                "free-page-in-use",
                AT_REST,
                f"BUG: {page.name} is on a free list with _count {page.count.value}",
            )
        elif page.count.value == 0 and free != 1 and not page.flags.has(PG_RESERVED):
            self._say(
                "free-list-mismatch",
                AT_REST,
                f"BUG: {page.name} has _count 0 and is on {free} free lists",
            )

    def _rest_flags(self, page: Page) -> None:
        """I40."""
        if page.flags.value & (PG_LOCKED | PG_WRITEBACK):
            self._say(
                "page-left-locked",
                AT_REST,
                f"BUG: {page.name} left with flags {_flags(page)}",
            )

    def _rest_mapping(self, page: Page) -> None:
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
