# SPDX-License-Identifier: GPL-2.0-or-later
"""The page state oracle: reference counts, map counts and mapping words fit the page tables.

Ledgers of present ptes and of the swap cache are kept write by write. While actors run: the
allocator's checks, counts that fall below their holders (I1, I3), uses of frames that nobody holds
(I3), mapcounts and writable ptes at the end of each pte-lock section (I2, I6), migration entries of
pages that are not locked (I4), locked pages that nobody holds (I5), contents of KSM pages (I7), a
mapped page that loses its mapping word (I14). The rest is recounted at rest, see page_state_rest.
Tests: `tests/unit/test_oracles_page_state.py`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar

from ksmtrio.mm.page_flags import PG_LOCKED, PG_SWAPCACHE, flag_names
from ksmtrio.oracles.notices import NoticeOracle
from ksmtrio.oracles.page_state_rest import RestJudge
from ksmtrio.oracles.recount import Recount, in_pagevecs, on_free_list
from ksmtrio.sched.cell import Death

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksmtrio.machine import Machine
    from ksmtrio.mm.globals import Globals
    from ksmtrio.mm.mm_types import Page, Pte, Watchers
    from ksmtrio.oracles.base import Findings
    from ksmtrio.sched.actor_state import ActorState
    from ksmtrio.sched.cell import Cell
    from ksmtrio.units import Pfn

PTE_LOCK = "pte_lock"
"""Class of the locks whose sections change a pte and its page's mapcount together."""


GIVES_BACK = ("migration_entry_wait", "soft_offline_page")
"""Functions that give back every reference that they take, so that one that is left is theirs.

A drain of pagevecs on their way gives back those of others.
"""


class PageStateOracle(NoticeOracle):
    """Keeps the ledgers of `struct page`."""

    name = "page_state"
    description = "_count, _mapcount, mapping, flags, page tables and the swap map agree"
    kinds: ClassVar[Mapping[str, bool]] = {"bad-page": True}

    g: Globals

    def __init__(self) -> None:
        self._ptes: defaultdict[Pfn, int] = defaultdict(int)
        self._writable: defaultdict[Pfn, int] = defaultdict(int)
        self._migrating: defaultdict[Pfn, int] = defaultdict(int)
        self._cached: defaultdict[Pfn, int] = defaultdict(int)
        self._held: dict[Pfn, int] = {}
        self._pages: dict[Pfn, Page] = {}
        self._sections: dict[int, dict[Pfn, int]] = {}
        self._kept: dict[Pfn, list[Death]] = {}

    def watchers(self) -> Watchers:
        """Ptes, the swap cache, and all of `struct page` that must agree with them."""
        return {
            "pte": (self._on_pte,),
            "swapper_space.slot": (self._on_slot,),
            "page._count": (self._on_count,),
            "page._mapcount": (self._on_mapcount,),
            "page.mapping": (self._on_mapping,),
            "page.flags": (self._on_flags,),
            "page.content": (self._on_store,),
            "page.content.read": (self._on_load,),
        }

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Open the ledgers with the start state.

        References on a page that nothing maps belong to somebody outside the model (boot memory,
        pinned pages), who may keep them to the end.
        """
        super().attach(machine, findings)
        self.g = machine.g
        self._pages = machine.g.pages
        machine.rt.on_release.setdefault(PTE_LOCK, []).append(self._on_section_end)
        for ledger in (self._ptes, self._writable, self._migrating, self._cached):
            ledger.clear()
        for mm in machine.g.processes:
            for cell in mm.ptes.values():
                self._enter(cell.value, 1)
        recount = Recount.of(machine.g)
        self._cached.update(recount.cached)
        for pfn, page in machine.g.pages.items():
            if not recount.ptes[pfn] and page.count.value > recount.holders(pfn):
                self._held[pfn] = page.count.value - recount.holders(pfn)

    def quiescent(self) -> None:
        """Recount everything and compare."""
        RestJudge(self.g, self._say, self._held, self._kept).judge()

    # -- ledgers: one entry a write ------------------------------------------------------------

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
            if old.kind == "present" and not old.special:
                self._in_section(old.pfn, -1)
        if new.kind == "none":
            return
        self._enter(new, 1)
        page = self._pages.get(new.pfn)
        if page is None:
            return
        if new.kind == "migration":
            if old.kind != "migration" and not page.flags.value & PG_LOCKED:
                self._unlocked_entry(page, at)
        elif new.kind == "present" and not new.special:
            self._in_section(new.pfn, 1)
            self._check_holders(page, page.count.value, at, page.count)
            if new.write:
                word = page.mapping.value
                if word is not None and word.ksm:
                    self._writable_ksm(page, at, page.mapping)

    def _on_slot(self, _cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        """I3 for the swap cache."""
        if old is not None:
            self._cached[old.pfn] -= 1
        if new is not None:
            self._cached[new.pfn] += 1
            self._check_holders(new, new.count.value, at, new.count)

    # -- _count --------------------------------------------------------------------------------

    def _on_count(self, cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        page: Any = cell.owner
        me = self.rt.current
        if at.partition(".")[0] in GIVES_BACK and not at.endswith("/release_pages"):
            self._scoped(page.pfn, at, taken=new > old)
        if old == 0 and new > 0:
            if new == 1 and me is not None and me.op == "add":
                self._used_after_free(page, "get_page", at)
            return
        if new > old or (new == 0 and self._may_freeze(page)):
            return
        self._check_holders(page, new, at, None)
        if new == 0 and page.flags.value & PG_LOCKED:
            self._locked_unheld(page, at)

    def _scoped(self, pfn: Pfn, at: str, *, taken: bool) -> None:
        """Keep who took a reference in a function that has to give it back itself."""
        me, kept = self.rt.current, self._kept.setdefault(pfn, [])
        if taken:
            kept.append(Death("kept", me, at, 0))
            return
        for entry in reversed(kept):
            if entry.actor is me:
                kept.remove(entry)
                return

    def _check_holders(self, page: Page, count: int, at: str, last: Cell[Any] | None) -> None:
        """I1: never below the holders that are known at any time.

        Where the count only falls, pagevecs are looked at too.
        """
        pfn = page.pfn
        ptes = self._ptes[pfn]
        if count < ptes or count < 0:
            kind = "refcount-underflow" if count < 0 else "refcount-below-ptes"
            text = f"BUG: {page.name} in {at}: _count {count} is too low, {ptes} ptes map it"
            self._say(kind, at, text, last=last)
            return
        known = ptes + self._cached[pfn]
        if last is None:
            known += in_pagevecs(self.g, page)
        if count < known:
            text = f"BUG: {page.name} in {at}: _count {count} is too low for {known} known holders"
            self._say("refcount-below-holders", at, text, last=last)

    def _may_freeze(self, page: Page) -> bool:
        """Whether a count of 0 may be a frozen one (MM.5-8, RX.2-6): tree_lock is held."""
        cached = page.flags.value & PG_SWAPCACHE
        return bool(cached and self.g.swapper_space.tree_lock.holders())

    # -- pte-lock sections ---------------------------------------------------------------------

    def _in_section(self, pfn: Pfn, delta: int) -> None:
        """Note by how much ptes (+) and mapcount (-) of a frame were changed by this actor."""
        me = self.rt.current
        if me is not None:
            section = self._sections.get(me.index)
            if section is None:
                section = self._sections[me.index] = {}
            section[pfn] = section.get(pfn, 0) + delta

    def _on_section_end(self, actor: ActorState, _lock: Any, at: str) -> None:
        """I2 and I6, when an actor's last pte lock is released."""
        section = self._sections.get(actor.index)
        if not section or _holds_pte_lock(actor):
            return
        del self._sections[actor.index]
        for pfn, balance in section.items():
            page = self._pages[pfn]
            if balance:
                self._say(
                    "mapcount-mismatch",
                    at,
                    f"BUG: {page.name} in {at}: {actor.name} changed ptes and _mapcount "
                    f"differently, by {balance:+} ptes",
                )
            if self._writable[pfn] and self._ptes[pfn] > 1:
                self._say(
                    "writable-shared-page",
                    at,
                    f"BUG: {page.name} in {at} is mapped {self._ptes[pfn]} times, writable",
                )

    def _on_mapcount(self, cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        page: Any = cell.owner
        self._in_section(page.pfn, old - new)
        if new < -1:
            self._say(
                "mapcount-underflow",
                at,
                f"BUG: mapcount underflow in {at}: {page.name}, _mapcount {new}",
            )

    # -- mapping, flags, content ---------------------------------------------------------------

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
            return
        if new.ksm and self._writable[page.pfn]:
            self._writable_ksm(page, at, None)
        if page.count.value == 0:
            self._used_after_free(page, "write of mapping", at)

    def _on_flags(self, cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        """I4: the entries of a page are gone when it is unlocked. Noted; a fault will show it."""
        if not (old ^ new) & PG_LOCKED:
            return
        page: Any = cell.owner
        if new & PG_LOCKED:
            if page.count.value == 0:
                self._locked_unheld(page, at)
        elif self._migrating[page.pfn]:
            self._say(
                "migration-entry-left",
                at,
                f"BUG: {page.name} unlocked in {at} with {self._migrating[page.pfn]} "
                "migration entries left",
                corrupting=False,
            )

    def _on_load(self, cell: Cell[Any], _old: Any, _new: Any, at: str) -> None:
        """I3: nobody reads what no one holds."""
        page: Any = cell.owner
        if page.count.value == 0:
            self._used_after_free(page, f"load of {cell.field}", at)

    def _on_store(self, cell: Cell[Any], old: Any, new: Any, at: str) -> None:
        """I3 and I7.

        The allocator clears pages that it hands out before they have a count; migration fills a
        page that carries the key already, with the page locked.
        """
        page: Any = cell.owner
        if page.count.value == 0:
            if new or on_free_list(self.g, page):
                self._used_after_free(page, f"store to {cell.field}", at)
            return
        word = page.mapping.value
        me = self.rt.current
        if old == new or word is None or not word.ksm or me is None:
            return
        if not page.page_lock.held_by(me):
            self._ksm_content(page, cell, at)

    # -- words ---------------------------------------------------------------------------------

    def _used_after_free(self, page: Page, access: str, at: str) -> None:
        me = self.rt.current
        who = "somebody" if me is None else me.name
        self._say(
            "use-after-free-page",
            at,
            f"BUG: KASAN: use-after-free-page in {at}: {access} of {page.name} by {who}, "
            f"flags {flag_names(page.flags.value)}, count 0",
            last=page.count,
        )

    def _locked_unheld(self, page: Page, at: str) -> None:
        """I5."""
        self._say(
            "locked-page-unreferenced",
            at,
            f"BUG: {page.name} is locked in {at}, and nobody holds a reference",
            last=page.count,
        )

    def _unlocked_entry(self, page: Page, at: str) -> None:
        """I4, seen from the entry."""
        self._say(
            "migration-entry-of-unlocked-page",
            at,
            f"BUG: migration entry of {page.name} made in {at}, and the page is not locked",
            last=page.flags,
            corrupting=False,
        )

    def _ksm_content(self, page: Page, cell: Cell[Any], at: str) -> None:
        self._say(
            "ksm-content-changed",
            at,
            f"BUG: content of KSM {page.name} changed in {at}: {cell.field} := {cell.value}",
            last=page.mapping,
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


def _holds_pte_lock(actor: ActorState) -> bool:
    held: list[Any] = actor.held
    return any(lock.lock_class == PTE_LOCK for lock in held)
