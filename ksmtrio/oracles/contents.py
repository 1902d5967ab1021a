# SPDX-License-Identifier: GPL-2.0-or-later
"""The contents oracle: every load returns what its address space last stored there (I13).

A shadow of every address space is kept beside it: (mm, half page) -> token. Merging, COW,
migration and swapping must never show through. Tests: `tests/unit/test_oracles_contents.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksmtrio.mm.mm_types import MmStruct, Pte, Token, Watchers
from ksmtrio.mm.page_flags import PG_UPTODATE
from ksmtrio.oracles.base import AT_REST, Findings
from ksmtrio.units import HALVES_PER_PAGE, PAGE_SHIFT, PAGE_SIZE, Vaddr, Vpn

if TYPE_CHECKING:
    from ksmtrio.machine import Machine
    from ksmtrio.mm.globals import Globals
    from ksmtrio.sched.cell import Cell

Shadow = dict[int, Token]
"""Number of a half page in the address space -> token; what is absent reads as zeroes."""


class ContentsOracle:
    """Watches user loads and stores (a `UserAccessWatcher`)."""

    name = "contents"
    description = "every load returns what that address space last stored there"

    g: Globals
    findings: Findings

    def __init__(self) -> None:
        self._shadows: dict[MmStruct, Shadow] = {}

    def watchers(self) -> Watchers:
        """No cells: uaccess tells."""
        return {}

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Take the start state's contents as stored by their owners."""
        self.g = machine.g
        self.findings = findings
        for mm in self.g.processes:
            shadow = self._shadow(mm)
            for vpn, cell in mm.ptes.items():
                seen = self._content(cell.value)
                if seen is not None:
                    for half, token in enumerate(seen):
                        shadow[vpn * HALVES_PER_PAGE + half] = token
        self.g.user_access.append(self)

    def loaded(self, mm: MmStruct, address: Vaddr, half: int, value: Token, at: str) -> None:
        """A user load returned `value`: it must be the last one stored there."""
        vpn = address >> PAGE_SHIFT
        expected = self._shadow(mm).get(vpn * HALVES_PER_PAGE + half, 0)
        if value != expected:
            self._report(mm, vpn, half, value, expected, at)

    def stored(
        self,
        mm: MmStruct,
        address: Vaddr,
        half: int,
        value: Token,
        at: str,
    ) -> None:
        """A user store of `value` took effect."""
        self._shadow(mm)[(address >> PAGE_SHIFT) * HALVES_PER_PAGE + half] = value
        self._tell(mm)

    def unmapped(self, mm: MmStruct, start: Vaddr, end: Vaddr) -> None:
        """The range was unmapped; what is mapped there later starts as zeroes."""
        shadow = self._shadow(mm)
        low = (start >> PAGE_SHIFT) * HALVES_PER_PAGE
        high = (end >> PAGE_SHIFT) * HALVES_PER_PAGE
        for key in [k for k in shadow if low <= k < high]:
            del shadow[key]
        self._tell(mm)

    def inherited(self, parent: MmStruct, child: MmStruct, address: Vaddr) -> None:
        """The child sees what the parent had at that moment."""
        from_, to = self._shadow(parent), self._shadow(child)
        first = address // PAGE_SIZE * HALVES_PER_PAGE
        for half in range(first, first + HALVES_PER_PAGE):
            to[half] = from_.get(half, 0)
        self._tell(child)

    def moved(self, mm: MmStruct, old: Vaddr, new: Vaddr) -> None:
        """What was stored at the old address is now at the new one."""
        shadow = self._shadow(mm)
        from_, to = (a // PAGE_SIZE * HALVES_PER_PAGE for a in (old, new))
        for half in range(HALVES_PER_PAGE):
            shadow[to + half] = shadow.pop(from_ + half, 0)
        self._tell(mm)

    def quiescent(self) -> None:
        """Compare what every live address space would load with its shadow."""
        for mm in self.g.processes:
            if mm.mm_users.value <= 0:
                continue
            shadow = self._shadow(mm)
            touched = {key // HALVES_PER_PAGE: None for key in shadow}
            touched.update(dict.fromkeys(mm.ptes))
            for vpn in sorted(touched):
                self._compare(mm, vpn, shadow)

    def _compare(self, mm: MmStruct, vpn: Vpn, shadow: Shadow) -> None:
        cell = mm.ptes.get(vpn)
        seen = (0,) * HALVES_PER_PAGE if cell is None else self._content(cell.value)
        if seen is None:
            return
        for half, value in enumerate(seen):
            expected = shadow.get(vpn * HALVES_PER_PAGE + half, 0)
            if value != expected:
                self._report(mm, vpn, half, value, expected, AT_REST)
                return

    def _tell(self, mm: MmStruct) -> None:
        """Tell whoever compares states that a shadow has changed."""
        recorder = self.g.rt.recorder
        if recorder is not None:
            recorder.remembered(f"shadow {mm.name}", sorted(self._shadow(mm).items()))

    def _shadow(self, mm: MmStruct) -> Shadow:
        shadow = self._shadows.get(mm)
        if shadow is None:
            shadow = self._shadows[mm] = {}
        return shadow

    def _content(self, pte: Pte) -> tuple[Token, ...] | None:
        """Return what a load through the entry sees; None if it would have to wait.

        A swapped-out page is in the swap cache, or else on the disk.
        """
        if pte.present and not pte.special:
            return tuple(half.value for half in self.g.pages[pte.pfn].content)
        if pte.swap:
            slot = self.g.swapper_space.slots.get(pte.pfn)
            page = None if slot is None else slot.value
            if page is None or not page.flags.has(PG_UPTODATE):
                return tuple(half.value for half in self.g.swap.disk[pte.pfn])
            return tuple(half.value for half in page.content)
        return (0,) * HALVES_PER_PAGE if pte.none or pte.present else None

    def _report(
        self, mm: MmStruct, vpn: Vpn, half: int, value: Token, expected: Token, at: str
    ) -> None:
        """The conflicting access is the pte's last change by another actor, else the content's."""
        pte = mm.ptes.get(vpn)
        last: Cell[Pte] | Cell[Token] | None = pte
        if pte is not None and pte.value.present and not pte.value.special:
            rt = self.g.rt
            if pte.writer is None or pte.writer is rt.current:
                last = self.g.pages[pte.value.pfn].content[half]
        self.findings.report(
            self.name,
            "wrong-content",
            at,
            f"BUG: wrong content in {mm.name} at {vpn << PAGE_SHIFT:#x}, half {half}: "
            f"expected {expected}, saw {value}",
            last=last,
        )
