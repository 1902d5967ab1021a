# SPDX-License-Identifier: GPL-2.0-or-later
"""Brings a freshly wired machine into the start state that its scenario describes.

Runs before any actor, so nothing here is an operation: fields are set directly. Tests:
`tests/unit/test_machine.py`.
"""

from __future__ import annotations

from ksmtrio.errors import ScenarioError
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_tree import kpfn_of
from ksmtrio.mm.ksm_types import STABLE_FLAG, MmSlot, RmapItem, StableNode
from ksmtrio.mm.mm_types import (
    MMF_VM_MERGEABLE,
    VM_LOCKED,
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
    LRU_INACTIVE_ANON,
    LRU_UNEVICTABLE,
    MIGRATE_MOVABLE,
    MIGRATE_UNMOVABLE,
    PerCpu,
    Section,
    Zone,
)
from ksmtrio.mm.page_flags import (
    PG_ACTIVE,
    PG_BUDDY,
    PG_LRU,
    PG_MLOCKED,
    PG_SWAPBACKED,
    PG_SWAPCACHE,
    PG_UNEVICTABLE,
    PG_UPTODATE,
)
from ksmtrio.mm.swap_types import SWAP_HAS_CACHE
from ksmtrio.scenario.schema import PageRef, ProcessSpec, Scenario, VmaSpec
from ksmtrio.sched.cell import Cell
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE, Vaddr

FIRST_VPN = 0x100
GAP_PAGES = 0x10
"""Unmapped pages between two vmas, so that holes can be named."""


class StartState:
    """Builds the start state step by step; `build` is the one thing to call.

    Attributes:
        addresses: process name -> address of each of its pages, in the scenario's numbering.
    """

    def __init__(self, g: Globals, scenario: Scenario) -> None:
        self.g = g
        self.scenario = scenario
        self.addresses: dict[str, list[Vaddr]] = {}
        self._leader: dict[PageRef, PageRef] = {}
        self._frames: dict[PageRef, Page] = {}
        self._items: dict[str, list[RmapItem]] = {}

    def build(self) -> dict[str, MmStruct]:
        """Set everything up; return the address spaces by process name."""
        self._memory()
        # A kernel without KSM refused the advice and merged nothing.
        merged_groups = self.scenario.ksm.merged if self.g.kernel.CONFIG_KSM else ()
        for merged in merged_groups:
            for ref in merged.pages:
                self._leader[ref] = merged.pages[0]
        specs = [spec for spec in self.scenario.processes if spec.at == "start"]
        processes = {spec.name: self._process(spec) for spec in specs}
        for merged in merged_groups:
            self._merge(merged.pages, processes)
        for spec in specs:
            if spec.forked_from is not None:
                self._fork(processes[spec.forked_from], processes[spec.name])
        for spec in self.scenario.processes:
            if spec.forked_from is not None:
                self.addresses[spec.name] = self.addresses[spec.forked_from]
        self._swap(processes)
        self._mlock(processes)
        self._register(processes)
        self._cursor(processes)
        return processes

    def _memory(self) -> None:
        """Zones, sections and frames, all free."""
        g, spec = self.g, self.scenario.machine
        cpus = spec.cpus or len(self.scenario.actors)
        g.per_cpu = [PerCpu(g.rt, cpu) for cpu in range(cpus)]
        g.zones = {nid: Zone(g.rt, nid) for nid in range(spec.nodes)}
        movable = range(spec.nr_blocks) if spec.movable_blocks is None else spec.movable_blocks
        for number in range(spec.nr_blocks):
            nid = number // spec.blocks_per_node
            migratetype = MIGRATE_MOVABLE if number in movable else MIGRATE_UNMOVABLE
            section = Section(
                g.rt,
                number,
                nid,
                start_pfn=number * spec.pages_per_block,
                nr_pages=spec.pages_per_block,
                pageblock_nr_pages=spec.pages_per_pageblock or spec.pages_per_block,
                migratetype=migratetype,
                one_zone=number not in spec.mixed_zone_blocks,
                watchers=g.watchers,
            )
            g.sections.append(section)
            for pfn in range(section.start_pfn, section.end_pfn):
                g.pages[pfn] = Page(g.rt, pfn, nid, g.watchers)
        for section in reversed(g.sections):
            zone = g.zones[section.nid]
            zone.present_pages.value += section.end_pfn - section.start_pfn
            # Movable allocations may take frames of either kind of block, movable ones first.
            for pfn in reversed(range(section.start_pfn, section.end_pfn)):
                page = g.pages[pfn]
                page.flags.value = PG_BUDDY
                zone._free_list[MIGRATE_MOVABLE].append(page)

    def _fork(self, parent: MmStruct, child: MmStruct) -> None:
        """Leave parent and child as fork(2) does: shared pages, read-only; no rmap_items copied."""
        vmas = []
        for vma in parent._vmas:
            copy = Vma(
                self.g.rt,
                child,
                vma._vm_start,
                vma._vm_end,
                flags=vma._vm_flags & ~VM_LOCKED,
                pgoff=vma._vm_pgoff,
            )
            anon_vma = vma.anon_vma.value
            if anon_vma is not None:
                copy.anon_vma.value = anon_vma
                anon_vma._head.append(copy)
            vmas.append(copy)
        child._vmas = tuple(vmas)
        for vpn, cell in parent.ptes.items():
            cell.value = cell.value._replace(write=False)
            child.pte(vpn << PAGE_SHIFT).value = cell.value._replace(young=False)
            page = self.g.pages[cell.value.pfn]
            page.count.value += 1
            page.mapcount.value += 1

    def _take_frame(self, spec: VmaSpec, ref: PageRef) -> Page:
        """Take the lowest free frame of the vma's block or node."""
        g = self.g
        if spec.block is not None:
            section = g.sections[spec.block]
            frames = range(section.start_pfn, section.end_pfn)
        else:
            nid = spec.node or 0
            own = [s for s in g.sections if s.nid == nid]
            frames = range(own[0].start_pfn, own[-1].end_pfn)
        for pfn in frames:
            page = g.pages[pfn]
            if page.flags.value & PG_BUDDY:
                g.zones[page.nid]._free_list[MIGRATE_MOVABLE].remove(page)
                page.flags.value = 0
                return page
        raise ScenarioError(f"{self.scenario.source}: no free frame left for page {ref}")

    def _process(self, spec: ProcessSpec) -> MmStruct:
        g = self.g
        mm = MmStruct(g.rt, spec.name, g.watchers)
        g.processes.append(mm)
        users = sum(actor.process == spec.name for actor in self.scenario.actors)
        mm.mm_users.value = mm.group.threads.value = max(users, 1)
        if spec.forked_from is not None:
            self._items[spec.name] = []
            return mm
        vpn, vmas = FIRST_VPN, []
        self.addresses[spec.name] = []
        self._items[spec.name] = []
        for vma_spec in spec.vmas:
            if not vma_spec.mapped:
                self.addresses[spec.name] += range(
                    vpn << PAGE_SHIFT, (vpn + vma_spec.pages) << PAGE_SHIFT, PAGE_SIZE
                )
                vpn += vma_spec.pages + GAP_PAGES
                continue
            flags = VM_READ | VM_WRITE
            flags |= VM_LOCKED if vma_spec.locked else 0
            if vma_spec.mergeable and g.kernel.CONFIG_KSM:
                flags |= VM_MERGEABLE
            start = vpn << PAGE_SHIFT
            end = start + vma_spec.pages * PAGE_SIZE
            vma = Vma(g.rt, mm, start, end, flags=flags)
            vmas.append(vma)
            self._populate(mm, vma, vma_spec, spec.name)
            vpn += vma_spec.pages + GAP_PAGES
        mm._vmas = tuple(vmas)
        return mm

    def _populate(self, mm: MmStruct, vma: Vma, spec: VmaSpec, process: str) -> None:
        """Fill a vma with the pages it was touched with."""
        g = self.g
        for address, token in zip(
            range(vma._vm_start, vma._vm_end, PAGE_SIZE), spec.contents, strict=True
        ):
            number = len(self.addresses[process])
            self.addresses[process].append(address)
            if token is None:
                continue
            if vma.anon_vma.value is None:
                anon_vma = AnonVma(g.rt, g.watchers)
                g.anon_vmas.append(anon_vma)
                anon_vma._head.append(vma)
                vma.anon_vma.value = anon_vma
            ref = PageRef(process, number)
            if self._leader.get(ref, ref) == ref:
                self._map_anon(mm, vma, spec, ref, address, token)
            if spec.checksum and ref not in self._leader:
                item = RmapItem(g.rt, g.ksm, mm, address)
                item._oldchecksum = (token, token)
                self._items[process].append(item)

    def _map_anon(
        self, mm: MmStruct, vma: Vma, spec: VmaSpec, ref: PageRef, address: Vaddr, token: int
    ) -> None:
        anon_vma = vma.anon_vma.value
        assert anon_vma is not None
        page = self._take_frame(spec, ref)
        page.flags.value = PG_UPTODATE | PG_SWAPBACKED | PG_LRU | PG_ACTIVE
        self.g.zones[page.nid]._lru_list[LRU_ACTIVE_ANON].append(page)
        page.count.value = 1
        page.mapcount.value = 0
        page.mapping.value = anon_vma.word
        page.index.value = vma.linear_page_index(address)
        for half in page.content:
            half.value = token
        mm.pte(address).value = Pte("present", page.pfn, spec.pte == "rw", dirty=True, young=True)
        self._frames[ref] = page

    def _merge(self, refs: tuple[PageRef, ...], processes: dict[str, MmStruct]) -> None:
        """Turn a group of pages into one KSM page with its node and items."""
        g = self.g
        kpage = self._frames[refs[0]]
        node = StableNode(g.rt, g.ksm, g.watchers)
        node.kpfn.value = kpfn_of(g, kpage)
        kpage.mapping.value = node.word
        kpage.count.value = len(refs)
        kpage.mapcount.value = len(refs) - 1
        for ref in refs:
            mm = processes[ref.process]
            address = self.addresses[ref.process][ref.page]
            vma = next(v for v in mm._vmas if v._vm_start <= address < v._vm_end)
            anon_vma = vma.anon_vma.value
            assert anon_vma is not None
            mm.pte(address).value = Pte("present", kpage.pfn, young=True)
            item = RmapItem(g.rt, g.ksm, mm, address | STABLE_FLAG)
            item._head = node
            item._anon_vma = anon_vma
            anon_vma.ksm_refcount.value += 1
            node._hlist = (item, *node._hlist)
            self._items[ref.process].append(item)
        g.ksm.ksm_pages_shared.value += 1
        g.ksm.ksm_pages_sharing.value += len(refs) - 1
        tree = g.ksm._stable_root
        token = kpage.content[0].value
        tree.insert(sum(self._token(other) < token for other in tree), node)

    def _mlock(self, processes: dict[str, MmStruct]) -> None:
        """Take the pages of VM_LOCKED areas to the unevictable lists."""
        for mm in processes.values():
            for vma in mm._vmas:
                vpns = range(vma._vm_start >> PAGE_SHIFT, vma._vm_end >> PAGE_SHIFT)
                for vpn in vpns if vma._vm_flags & VM_LOCKED else ():
                    if vpn in mm.ptes and mm.ptes[vpn].value.present:
                        self._mlock_page(self.g.pages[mm.ptes[vpn].value.pfn])

    def _mlock_page(self, page: Page) -> None:
        if not page.flags.value & PG_MLOCKED:
            lists = self.g.zones[page.nid]._lru_list
            active = page.flags.value & PG_ACTIVE
            lists[LRU_ACTIVE_ANON if active else LRU_INACTIVE_ANON].remove(page)
            lists[LRU_UNEVICTABLE].append(page)
            page.flags.value = page.flags.value & ~PG_ACTIVE | PG_MLOCKED | PG_UNEVICTABLE

    def _swap(self, processes: dict[str, MmStruct]) -> None:
        """Put pages into the swap cache, or out to disk, with all who map them."""
        for spec in self.scenario.processes:
            if spec.forked_from is not None:
                continue
            places = [vma.swap for vma in spec.vmas for _ in range(vma.pages)]
            for number, place in enumerate(places):
                page = self._frames.get(PageRef(spec.name, number))
                if place != "none" and page is not None:
                    self._swap_page(page, place, processes)

    def _swap_page(self, page: Page, place: str, processes: dict[str, MmStruct]) -> None:
        """Give a page a slot; `place` is one of SWAP_STATES."""
        swap, zone = self.g.swap, self.g.zones[page.nid]
        entry = swap._swap_map.index(0)
        swap.nr_swap_pages.value -= 1
        swap._swap_map[entry] = 0 if place == "out" else SWAP_HAS_CACHE
        for disk, half in zip(swap.disk[entry], page.content, strict=True):
            disk.value = half.value
        for mm in processes.values():
            for cell in mm.ptes.values():
                if cell.value.present and cell.value.pfn == page.pfn:
                    self._swap_pte(mm, cell, page, None if place == "mapped" else entry)
        zone._lru_list[LRU_ACTIVE_ANON].remove(page)
        if place == "out":
            page.flags.value = PG_BUDDY
            page.mapping.value = None
            zone._free_list[MIGRATE_MOVABLE].append(page)
            return
        zone._lru_list[LRU_INACTIVE_ANON].append(page)
        page.flags.value = page.flags.value & ~PG_ACTIVE | PG_SWAPCACHE
        page.private.value = entry
        page.count.value += 1
        self.g.swapper_space.slot(entry).value = page

    def _swap_pte(self, mm: MmStruct, cell: Cell[Pte], page: Page, entry: int | None) -> None:
        """Turn a present pte into the swap entry, or leave it, read-only, beside the swap cache."""
        swap = self.g.swap
        if entry is None:
            cell.value = cell.value._replace(write=False, dirty=False)
            return
        cell.value = Pte("swap", entry)
        swap._swap_map[entry] += 1
        page.count.value -= 1
        page.mapcount.value -= 1
        if not mm.on_mmlist.value:
            mm.on_mmlist.value = True
            swap._mmlist = (*swap._mmlist, mm)

    def _token(self, node: StableNode) -> int:
        ref = node.kpfn.value
        page = ref if isinstance(ref, Page) else self.g.pages[ref]
        return page.content[0].value

    def _register(self, processes: dict[str, MmStruct]) -> None:
        """Give each process with a mergeable vma its mm_slot."""
        ksm, slots = self.g.ksm, []
        for name, mm in processes.items():
            if not any(vma._vm_flags & VM_MERGEABLE for vma in mm._vmas):
                continue
            slot = MmSlot(self.g.rt, ksm, mm)
            items = sorted(self._items[name], key=lambda item: item._address)
            slot.rmap_list.value = tuple(items)
            ksm.ksm_rmap_items.value += len(items)
            mm.flags.value = MMF_VM_MERGEABLE
            mm.mm_count.value += 1
            slots.append(slot)
        ksm._mm_list = tuple(slots)
        ksm.list_empty.value = not slots

    def _cursor(self, processes: dict[str, MmStruct]) -> None:
        """Knobs, and where the scan stands."""
        ksm, spec = self.g.ksm, self.scenario.ksm
        if not self.g.kernel.CONFIG_KSM:
            return
        if self.g.kernel.CONFIG_SYSFS:
            ksm.ksm_run.value = spec.run
            ksm.ksm_thread_pages_to_scan.value = spec.pages_to_scan
            ksm.ksm_thread_sleep_millisecs.value = spec.sleep_millisecs
        if spec.cursor is None:
            return
        mm = processes[spec.cursor.process]
        slot = next((s for s in ksm._mm_list if s.mm is mm), None)
        if slot is None:
            raise ScenarioError(
                f"{self.scenario.source}: the cursor is in process {spec.cursor.process!r}, "
                "which has no mergeable vma"
            )
        address = self.addresses[spec.cursor.process][spec.cursor.page]
        ksm.cursor._mm_slot = slot
        ksm.cursor._address = address
        ksm.cursor._rmap_list = sum(i._address < address for i in slot.rmap_list.value)
