# SPDX-License-Identifier: GPL-2.0-or-later
"""Who refers to each frame and to each swap slot, counted from scratch.

Tests: `tests/unit/test_oracles_page_state_rest.py`.
"""

# ruff: noqa: SLF001 - oracles look past the guards of guarded fields

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ksmtrio.mm.globals import Globals
    from ksmtrio.mm.mm_types import Page
    from ksmtrio.mm.swap_types import SwapEntry
    from ksmtrio.units import Pfn


@attrs.define
class Recount:
    """Who refers to each frame and to each swap slot.

    Attributes:
        ptes: present ptes that map it.
        pagevecs: pagevec entries, a reference each.
        pipes: pipe buffers that hold it, a reference each.
        cached: slots of the swap cache that hold it, a reference each.
        lru: entries on LRU lists, which hold no reference.
        free: entries on free lists, buddy and per-CPU.
        slots: swap slot -> ptes that hold it.
    """

    ptes: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    pagevecs: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    pipes: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    cached: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    lru: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    free: defaultdict[Pfn, int] = attrs.field(factory=lambda: defaultdict(int))
    slots: defaultdict[SwapEntry, int] = attrs.field(factory=lambda: defaultdict(int))

    @classmethod
    def of(cls, g: Globals) -> Recount:
        """Count page tables, the swap cache and lists."""
        self = cls()
        for mm in g.processes:
            for cell in mm.ptes.values():
                pte = cell.value
                if pte.present and not pte.special:
                    self.ptes[pte.pfn] += 1
                elif pte.swap:
                    self.slots[pte.pfn] += 1
        for buffer in g.pipe_buffers:
            self.pipes[buffer.page.pfn] += 1
        for slot in g.swapper_space.slots.values():
            if slot.value is not None:
                self.cached[slot.value.pfn] += 1
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

    def holders(self, pfn: Pfn) -> int:
        """Return the references that are accounted for."""
        return self.ptes[pfn] + self.pagevecs[pfn] + self.pipes[pfn] + self.cached[pfn]


def on_free_list(g: Globals, page: Page) -> bool:
    """Return whether the allocator has the page on one of its lists, buddy or per-CPU."""
    buddy = any(page in free for free in g.zone_of(page)._free_list.values())
    return buddy or any(page in cpu._pcp for cpu in g.per_cpu)


def in_pagevecs(g: Globals, page: Page) -> int:
    """Return how many pagevec entries hold the page."""
    held = 0
    for cpu in g.per_cpu:
        for pagevec in cpu._lru_add.values():
            if pagevec:
                held += pagevec.count(page)
    return held
