# SPDX-License-Identifier: GPL-2.0-or-later
"""The rmap oracle: a page leads to each pte that maps it, where the specification promises so.

Judged at rest. An ordinary page: the pte's vma is on the list of the anon_vma in its mapping word,
and the page's index gives the pte's address there. A KSM page: some item of its node has an
anon_vma whose list has the pte's vma, and the item's address is the pte's. The latter is no promise
in this kernel: where an item has gone before the pte, nothing leads there until ksmd comes by
again (L6, L9). Such a pte is noted: its content stays right, but the page can be neither migrated
nor reclaimed meanwhile. Tests: `tests/unit/test_oracles_rmap.py`.
"""

# ruff: noqa: SLF001 - oracles look past the guards of guarded fields

from __future__ import annotations

from typing import TYPE_CHECKING

from ksmtrio.mm.ksm_types import PAGE_MASK, StableNode
from ksmtrio.oracles.base import AT_REST
from ksmtrio.units import PAGE_SHIFT, Vaddr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ksmtrio.machine import Machine
    from ksmtrio.mm.globals import Globals
    from ksmtrio.mm.mm_types import AnonVma, MmStruct, Page, Vma, Watchers
    from ksmtrio.oracles.base import Findings


class RmapOracle:
    """Follows every pte back from its page."""

    name = "rmap"
    description = "reverse maps lead from a page to each pte that maps it"

    g: Globals
    findings: Findings

    def watchers(self) -> Watchers:
        """No cells: only the machine at rest is judged."""
        return {}

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Remember the machine."""
        self.g = machine.g
        self.findings = findings

    def quiescent(self) -> None:
        """Judge every present pte; what a page lacks, other oracles say."""
        for mm in self.g.processes:
            for vpn, cell in mm.ptes.items():
                pte = cell.value
                if pte.present and not pte.special:
                    self._judge(self.g.pages[pte.pfn], mm, vpn << PAGE_SHIFT)

    def _judge(self, page: Page, mm: MmStruct, address: Vaddr) -> None:
        word = page.mapping.value
        if word is None or word.target is None or word.target.dead is not None:
            return
        if word.ksm:
            if not _ksm_leads_to(word.target, mm, address):
                self.findings.report(
                    self.name,
                    "unfindable-ksm-mapping",
                    AT_REST,
                    f"WARNING: no rmap_item of {word.target.name} leads from KSM {page.name} to "
                    f"{mm.name} at {address:#x}",
                    corrupting=False,
                )
        elif not _anon_leads_to(word.target, page, mm, address):
            self.findings.report(
                self.name,
                "unfindable-mapping",
                AT_REST,
                f"BUG: {word.target.name} does not lead from {page.name} with index "
                f"{page.index.value:#x} to {mm.name} at {address:#x}",
                last=page.mapping,
            )


def _ksm_leads_to(node: StableNode, mm: MmStruct, address: Vaddr) -> bool:
    """As rmap_walk_ksm() goes: every vma on an item's anon_vma that covers the item's address."""
    anon_vmas = (i._anon_vma for i in node._hlist if i._address & PAGE_MASK == address)
    return any(
        _covers(vma, address)
        for anon_vma in anon_vmas
        if anon_vma is not None
        for vma in _vmas_of(anon_vma, mm)
    )


def _anon_leads_to(anon_vma: AnonVma, page: Page, mm: MmStruct, address: Vaddr) -> bool:
    """As rmap_walk_anon() goes: the page's index gives an address in each vma."""
    index = page.index.value
    return any(
        _covers(vma, address) and vma.linear_page_index(address) == index
        for vma in _vmas_of(anon_vma, mm)
    )


def _vmas_of(anon_vma: AnonVma, mm: MmStruct) -> Iterable[Vma]:
    return (vma for vma in anon_vma._head if vma.vm_mm is mm)


def _covers(vma: Vma, address: Vaddr) -> bool:
    return vma._vm_start <= address < vma._vm_end
