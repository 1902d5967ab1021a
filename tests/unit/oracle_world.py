# SPDX-License-Identifier: GPL-2.0-or-later
"""A small hand-made machine for the tests of the oracles: sound at the start, to be spoilt by them.

Two nodes with a section of four frames each. Process A maps frame 0 (writable, in its own vma) and
frame 1; B maps frame 1 too. Frame 1 is a KSM page with a node and two items; the rest is free.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import attrs
import trio

from ksmtrio.base.memory import MemoryBlock
from ksmtrio.kconfig import build_kernel
from ksmtrio.machine import Machine
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_types import STABLE_FLAG, MmSlot, RmapItem, StableNode
from ksmtrio.mm.mm_types import (
    VM_MERGEABLE,
    VM_READ,
    VM_WRITE,
    AnonVma,
    MmStruct,
    Page,
    Pte,
    Vma,
)
from ksmtrio.mm.mmzone import (
    LRU_ACTIVE_ANON,
    MIGRATE_MOVABLE,
    PerCpu,
    Section,
    Zone,
)
from ksmtrio.mm.page_flags import (
    PG_ACTIVE,
    PG_BUDDY,
    PG_LRU,
    PG_RESERVED,
    PG_SWAPBACKED,
    PG_SWAPCACHE,
    PG_UPTODATE,
)
from ksmtrio.mm.swap_types import SWAP_HAS_CACHE
from ksmtrio.oracles.base import Finding, Findings, Oracle
from ksmtrio.oracles.registry import make_oracles
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.host_trio import TrioHost
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.replay import Replay
from ksmtrio.units import PAGE_SHIFT

NR_PAGES = 4
BASE = 0x10
MERGED = 0x20
"""Page numbers of A's and B's vmas: ordinary pages, and mergeable ones."""

Body = Callable[[], Awaitable[None]]


@attrs.define
class StubMachine:
    """What oracles use of a Machine."""

    rt: Runtime
    g: Globals
    processes: dict[str, MmStruct]
    memory_blocks: list[MemoryBlock]
    scenario: Any = None


class World:
    """The machine, its oracles and their findings."""

    def __init__(
        self,
        oracles: list[Oracle] | None = None,
        *,
        points_max: int = 500,
        strategy: Strategy | None = None,
    ) -> None:
        self.oracles = make_oracles() if oracles is None else oracles
        watchers: dict[str, tuple[Any, ...]] = {}
        for oracle in self.oracles:
            for field, told in oracle.watchers().items():
                watchers[field] = watchers.get(field, ()) + told
        if strategy is None:
            strategy = Replay(Choices(), exact=False)  # each actor runs until it must stop
        self.rt = Runtime(strategy, TrioHost(), points_max=points_max)
        self.g = Globals(
            self.rt,
            build_kernel(),
            watchers=watchers,
            pagevecs=True,
            offline_timeout_jiffies=8,
            swap_slots=2,
        )
        self.memory_blocks: list[MemoryBlock] = []
        self._memory()
        self.a = self._process("A")
        self.b = self._process("B")
        self._ordinary()
        self._merged()
        self.findings = Findings(self.rt)
        self.attached = False

    # -- start state ---------------------------------------------------------------------------

    def _memory(self) -> None:
        g = self.g
        for nid in (0, 1):
            g.zones[nid] = Zone(self.rt, nid)
            section = Section(
                self.rt,
                nid,
                nid,
                start_pfn=nid * NR_PAGES,
                nr_pages=NR_PAGES,
                pageblock_nr_pages=2,
                migratetype=MIGRATE_MOVABLE,
                watchers=g.watchers,
            )
            g.sections.append(section)
            self.memory_blocks.append(MemoryBlock(self.rt, section, g.watchers))
            for pfn in range(section.start_pfn, section.end_pfn):
                g.pages[pfn] = page = Page(self.rt, pfn, nid, g.watchers)
                page.flags.value = PG_BUDDY
                g.zones[nid]._free_list[MIGRATE_MOVABLE].append(page)
        g.per_cpu.extend(PerCpu(self.rt, cpu) for cpu in (0, 1))

    def _process(self, label: str) -> MmStruct:
        mm = MmStruct(self.rt, label, self.g.watchers)
        self.g.processes.append(mm)
        mm._vmas = (
            self._vma(mm, BASE, VM_READ | VM_WRITE),
            self._vma(mm, MERGED, VM_READ | VM_WRITE | VM_MERGEABLE),
        )
        return mm

    def _vma(self, mm: MmStruct, vpn: int, flags: int) -> Vma:
        vma = Vma(self.rt, mm, vpn << PAGE_SHIFT, (vpn + 4) << PAGE_SHIFT, flags=flags)
        anon_vma = AnonVma(self.rt, self.g.watchers)
        anon_vma._head.append(vma)
        vma.anon_vma.value = anon_vma
        self.g.anon_vmas.append(anon_vma)
        return vma

    def _ordinary(self) -> None:
        page = self.use(0)
        vma = self.a._vmas[0]
        assert vma.anon_vma.value is not None
        page.mapping.value = vma.anon_vma.value.word
        page.index.value = BASE
        page.content[0].value = 7
        self.map(self.a, BASE, page, write=True)

    def _merged(self) -> None:
        ksm = self.g.ksm
        page = self.use(1)
        page.content[0].value = 42
        node = StableNode(self.rt, ksm, self.g.watchers)
        node.kpfn.value = page.pfn
        page.mapping.value = node.word
        ksm._stable_root.append(node)
        slots = []
        for mm in (self.a, self.b):
            self.map(mm, MERGED, page, write=False)
            item = RmapItem(self.rt, ksm, mm, (MERGED << PAGE_SHIFT) | STABLE_FLAG)
            item._head = node
            item._anon_vma = mm._vmas[1].anon_vma.value
            assert item._anon_vma is not None
            item._anon_vma.ksm_refcount.value += 1
            node._hlist = (item, *node._hlist)
            slot = MmSlot(self.rt, ksm, mm)
            slot.rmap_list.value = (item,)
            slots.append(slot)
        ksm._mm_list = tuple(slots)
        ksm.list_empty.value = False
        ksm.ksm_pages_shared.value = 1
        ksm.ksm_pages_sharing.value = 1
        ksm.ksm_rmap_items.value = 2

    # -- the parts that tests spoil ------------------------------------------------------------

    @property
    def node(self) -> StableNode:
        """The one stable node."""
        return self.g.ksm._stable_root[0]

    @property
    def item(self) -> RmapItem:
        """A's rmap_item."""
        return self.g.ksm._mm_list[0].rmap_list.value[0]

    def use(self, pfn: int) -> Page:
        """Take a frame off its free list and put it on the LRU, as yet unmapped."""
        page = self.g.pages[pfn]
        zone = self.g.zones[page.nid]
        zone._free_list[MIGRATE_MOVABLE].remove(page)
        page.flags.value = PG_LRU | PG_ACTIVE | PG_SWAPBACKED
        zone._lru_list[LRU_ACTIVE_ANON].append(page)
        return page

    def map(self, mm: MmStruct, vpn: int, page: Page, *, write: bool) -> None:
        """Add a present pte with its counts."""
        mm.pte(vpn << PAGE_SHIFT).value = Pte("present", page.pfn, write, dirty=True)
        page.count.value += 1
        page.mapcount.value += 1

    def take_offline(self, number: int) -> None:
        """Bring a section into the state that a sound offline leaves, but for the block's state."""
        section = self.g.sections[number]
        for pfn in range(section.start_pfn, section.end_pfn):
            page = self.g.pages[pfn]
            page.flags.value = PG_RESERVED
            self.g.zones[page.nid]._free_list[MIGRATE_MOVABLE].remove(page)

    # -- running -------------------------------------------------------------------------------

    def attach(self) -> None:
        """Let the oracles look at the start state."""
        if not self.attached:
            self.attached = True
            for oracle in self.oracles:
                processes = {"A": self.a, "B": self.b}
                machine = StubMachine(self.rt, self.g, processes, self.memory_blocks)
                oracle.attach(cast("Machine", machine), self.findings)

    def run(self, **bodies: Body) -> list[Finding]:
        """Attach, run the actors to the end of the execution, return all findings so far."""
        self.attach()
        for cpu, name in enumerate(bodies):
            self.rt.add_actor(name, cpu=cpu % 2)
        trio.run(self.rt.run, list(bodies.values()))
        return self.findings.all()

    def rest(self) -> list[Finding]:
        """Attach, judge the machine at rest, return all findings so far."""
        self.attach()
        for oracle in self.oracles:
            oracle.quiescent()
        return self.findings.all()

    def dump(self) -> list[str]:
        """Return everything that an oracle could change by mistake, as text."""
        g, ksm = self.g, self.g.ksm
        lines = [
            f"{page.name} {page.flags.value} {page.count.value} {page.mapcount.value} "
            f"{page.mapping.value} {page.index.value} {page.private.value} "
            f"{[half.value for half in page.content]} {page.dead} {page.page_lock.locked}"
            for page in g.pages.values()
        ]
        lines += [f"{zone.name} {zone._lru_list} {zone._free_list}" for zone in g.zones.values()]
        lines += [f"{cpu.name} {cpu._lru_add} {cpu._pcp}" for cpu in g.per_cpu]
        for mm in g.processes:
            ptes = [(vpn, str(cell.value)) for vpn, cell in mm.ptes.items()]
            vmas = [(vma.name, vma._vm_start, vma._vm_flags) for vma in mm._vmas]
            lines.append(f"{mm.name} {mm.mm_users.value} {mm.mm_count.value} {ptes} {vmas}")
        lines += [f"{a.name} {a.ksm_refcount.value} {a._head} {a.dead}" for a in g.anon_vmas]
        lines += [f"{n.name} {n.kpfn.value} {n._hlist} {n.dead}" for n in ksm._stable_root]
        lines += [
            f"{item.name} {item._address:#x} {item._head} {item._anon_vma}"
            for slot in ksm._mm_list
            for item in slot.rmap_list.value
        ]
        counters = (
            ksm.ksm_pages_shared,
            ksm.ksm_pages_sharing,
            ksm.ksm_pages_unshared,
            ksm.ksm_rmap_items,
        )
        lines.append(f"{[counter.value for counter in counters]}")
        lines.append(f"{[block.state.value for block in self.memory_blocks]} {self.rt.points}")
        return lines


def kinds(findings: list[Finding]) -> list[str]:
    """Return ``oracle:kind`` of each."""
    return [f"{finding.oracle}:{finding.kind}" for finding in findings]


def cached(world: World, pfn: int = 0, entry: int = 1) -> Page:
    """Put a page into the swap cache, soundly, as no pte holds the slot."""
    page = world.g.pages[pfn]
    page.count.value += 1
    page.flags.value |= PG_SWAPCACHE | PG_UPTODATE
    page.private.value = entry
    world.g.swapper_space.slot(entry).value = page
    world.g.swap._swap_map[entry] = SWAP_HAS_CACHE
    world.g.swap.nr_swap_pages.value -= 1
    return page
