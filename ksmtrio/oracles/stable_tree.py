# SPDX-License-Identifier: GPL-2.0-or-later
"""The stable tree oracle: stable_nodes, rmap_items, their pages and counters agree.

Each time ksm_thread_mutex becomes free: I9, I10, I20, I21 and I23 to I25. When a block goes
offline: I30, and I20/I21 unless somebody holds the mutex. At rest all of these once more, I22, I26.
Stale nodes are normal and no finding. Tests: `tests/unit/test_oracles_stable_tree.py`.
"""

# ruff: noqa: SLF001 - oracles look past the guards of guarded fields

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ksmtrio.base.memory import MEM_STATE_OFFLINE
from ksmtrio.mm.ksm_types import SEQNR_MASK, STABLE_FLAG, UNSTABLE_FLAG, RmapItem, StableNode
from ksmtrio.mm.mm_types import VM_MERGEABLE, AnonVma, MappingWord, Page, Watchers
from ksmtrio.oracles.base import AT_REST, Findings
from ksmtrio.units import PAGE_SHIFT, Pfn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmtrio.base.memory import MemoryBlock
    from ksmtrio.machine import Machine
    from ksmtrio.mm.globals import Globals
    from ksmtrio.mm.mmzone import Section
    from ksmtrio.sched.actor_state import ActorState
    from ksmtrio.sched.cell import Cell, Death


class StableTreeOracle:
    """Judges KSM's own structures."""

    name = "stable_tree"
    description = "stable nodes, their pages, rmap items and KSM's counters agree"

    g: Globals
    findings: Findings
    _blocks: list[MemoryBlock]

    def __init__(self) -> None:
        self._blamed: list[int] = []

    def watchers(self) -> Watchers:
        """The states of memory blocks."""
        return {"memory_block.state": (self._on_state,)}

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Remember the machine."""
        self.g = machine.g
        self._blocks = machine.memory_blocks
        self.findings = findings
        told = machine.rt.on_release
        told.setdefault(self.g.ksm.ksm_thread_mutex.lock_class, []).append(self._on_unlock)

    def quiescent(self) -> None:
        """Judge the whole tree."""
        for block in self._blocks:
            if block.state.value == MEM_STATE_OFFLINE:
                self._nodes_of(block.section, AT_REST)
        self._structures(AT_REST)
        self._keys_without_node()
        self._unmergeable()

    def _structures(self, at: str) -> None:
        """What holds whenever nobody is inside KSM."""
        self._keys(at)
        self._order(at)
        self._items(self._hlists(at), at)
        self._counters(at)
        self._anon_vmas(at)

    def _on_unlock(self, _actor: ActorState, _lock: Any, at: str) -> None:
        if self.g.ksm.ksm_thread_mutex.free:
            self._structures(at)

    def _on_state(self, cell: Cell[Any], _old: Any, new: Any, at: str) -> None:
        """The chain has run: no node may name the range. The block is the cell's owner."""
        if new == MEM_STATE_OFFLINE:
            block: Any = cell.owner
            self._nodes_of(block.section, at)
            if self.g.ksm.ksm_thread_mutex.free:
                self._keys(at)

    def _say(
        self,
        kind: str,
        at: str,
        message: str,
        *,
        other: Death | None = None,
        last: Cell[Any] | None = None,
        corrupting: bool = True,
    ) -> None:
        self.findings.report(
            self.name, kind, at, message, other=other, last=last, corrupting=corrupting
        )

    # -- nodes and pages -----------------------------------------------------------------------

    def _nodes_of(self, section: Section, at: str) -> None:
        """I30. Noted only: the damage shows when the memmap goes."""
        if section.number in self._blamed:
            return
        for node in self.g.ksm._stable_root:
            pfn = kpfn_of(node)
            if section.start_pfn <= pfn < section.end_pfn:
                self._blamed.append(section.number)
                self._say(
                    "node-of-offlined-pfn",
                    at,
                    f"BUG: {node.name} names pfn {pfn} of offline {section.name}, seen in {at}",
                    corrupting=False,
                )
                return

    def _keys(self, at: str) -> None:
        """I20 and I21: a live page that carries a node's key is the page that the node names.

        A locked page may be in the middle of a migration or of an insertion.
        """
        tree = dict.fromkeys(self.g.ksm._stable_root)
        for page, word in self._ksm_pages():
            node = word.target
            if node is None or page.page_lock.locked:
                continue
            if node.dead is not None:
                self._say(
                    "dangling-key",
                    at,
                    f"BUG: {page.name} carries the key of {node.name}, which is freed",
                    other=node.dead,
                )
            elif node not in tree:
                self._say(
                    "node-not-in-tree",
                    at,
                    f"BUG: {page.name} carries the key of {node.name}, not in the stable tree",
                )
            elif kpfn_of(node) != page.pfn:
                self._say(
                    "kpfn-mismatch",
                    at,
                    f"BUG: {page.name} carries the key of {node.name}, "
                    f"whose kpfn is {kpfn_of(node)}",
                    last=node.kpfn,
                )

    def _keys_without_node(self) -> None:
        """I22. Noted only: such a page can stay when an insertion and its undoing both failed."""
        for page, word in self._ksm_pages():
            if word.target is None:
                self._say(
                    "ksm-page-without-node",
                    AT_REST,
                    f"WARNING: KSM {page.name} has no stable node: no scan will ever find it",
                    corrupting=False,
                )

    def _ksm_pages(self) -> Iterator[tuple[Page, MappingWord]]:
        for page in self.g.pages.values():
            word = page.mapping.value
            if word is not None and word.ksm and page.count.value > 0 and page.dead is None:
                yield page, word

    def _order(self, at: str) -> None:
        """I25, and that no freed node is linked. A locked page may be being copied."""
        before: tuple[StableNode, tuple[int, ...]] | None = None
        for node in self.g.ksm._stable_root:
            if node.dead is not None:
                self._say(
                    "freed-node-in-tree",
                    at,
                    f"BUG: {node.name} is freed and still in the stable tree",
                    other=node.dead,
                )
                continue
            page = self.g.pages.get(kpfn_of(node))
            if page is None or page.dead is not None or page.count.value <= 0:
                continue
            if page.mapping.value is not node.word or page.page_lock.locked:
                continue
            content = tuple(half.value for half in page.content)
            if before is not None and content <= before[1]:
                self._say(
                    "stable-tree-order",
                    at,
                    f"BUG: {node.name} with content {content} comes after {before[0].name} "
                    f"with {before[1]}",
                )
            before = (node, content)

    # -- rmap_items ----------------------------------------------------------------------------

    def _hlists(self, at: str) -> dict[RmapItem, list[StableNode]]:
        """Return who lists each item; complain about items that must not be listed."""
        holders: dict[RmapItem, list[StableNode]] = {}
        for node in self.g.ksm._stable_root:
            for item in node._hlist:
                holders.setdefault(item, []).append(node)
                if item.dead is not None:
                    self._say(
                        "freed-item-on-hlist",
                        at,
                        f"BUG: {item.name} is freed and still on {node.name}",
                        other=item.dead,
                    )
                elif not item._address & STABLE_FLAG:
                    self._say(
                        "item-not-stable",
                        at,
                        f"BUG: {item.name} is on {node.name} without STABLE_FLAG",
                    )
        return holders

    def _all_items(self) -> Iterator[RmapItem]:
        for slot in self.g.ksm._mm_list:
            yield from slot.rmap_list.value

    def _items(self, holders: dict[RmapItem, list[StableNode]], at: str) -> None:
        """I9 and I23."""
        seqnr = self.g.ksm.cursor.seqnr.value
        for item in self._all_items():
            nodes = holders.get(item, [])
            if item._address & STABLE_FLAG and item._address & UNSTABLE_FLAG:
                self._say("item-flags", at, f"BUG: {item.name} is both stable and unstable")
            elif item._address & UNSTABLE_FLAG and (seqnr - item._address) & SEQNR_MASK > 1:
                self._say(
                    "item-age",
                    at,
                    f"BUG: unstable {item.name} with address {item._address:#x} is too old in "
                    f"scan {seqnr}",
                )
            elif item._address & STABLE_FLAG and (len(nodes) != 1 or nodes[0] is not item._head):
                where = ", ".join(node.name for node in nodes) or "no stable node"
                head = "NULL" if item._head is None else item._head.name
                self._say(
                    "item-on-wrong-hlist",
                    at,
                    f"BUG: {item.name} with head {head} is on {where}",
                )

    def _counters(self, at: str) -> None:
        """I24."""
        ksm = self.g.ksm
        lengths = [len(node._hlist) for node in ksm._stable_root if node._hlist]
        items = list(self._all_items())
        unshared = sum(1 for item in items if item._address & UNSTABLE_FLAG)
        for cell, expected in (
            (ksm.ksm_pages_shared, len(lengths)),
            (ksm.ksm_pages_sharing, sum(lengths) - len(lengths)),
            (ksm.ksm_pages_unshared, unshared),
            (ksm.ksm_rmap_items, len(items)),
        ):
            if cell.value != expected:
                self._say(
                    f"{cell.field.removeprefix('ksm_').replace('_', '-')}-mismatch",
                    at,
                    f"BUG: {cell.field} is {cell.value}, a recount gives {expected}",
                )

    def _anon_vmas(self, at: str) -> None:
        """I10: ksm_refcount is the number of items that hold the anon_vma: stable ones."""
        holds: dict[AnonVma, int] = dict.fromkeys(self.g.anon_vmas, 0)
        for item in self._all_items():
            if item._address & STABLE_FLAG and item._anon_vma is not None:
                holds[item._anon_vma] = holds.get(item._anon_vma, 0) + 1
        for anon_vma, held in holds.items():
            if anon_vma.dead is not None:
                if held:
                    self._say(
                        "anon_vma-freed-while-held",
                        at,
                        f"BUG: {anon_vma.name} is freed, {held} rmap items hold it",
                        other=anon_vma.dead,
                    )
            elif anon_vma.ksm_refcount.value != held:
                self._say(
                    "anon_vma-refcount-mismatch",
                    at,
                    f"BUG: {anon_vma.name} has ksm_refcount {anon_vma.ksm_refcount.value}, "
                    f"{held} rmap items hold it",
                )

    def _unmergeable(self) -> None:
        """I26. Noted only: content stays right and writes still copy."""
        for mm in self.g.processes:
            for vma in mm._vmas:
                if vma._vm_flags & VM_MERGEABLE:
                    continue
                start, end = vma._vm_start >> PAGE_SHIFT, vma._vm_end >> PAGE_SHIFT
                for vpn in mm.ptes.irange(start, end, inclusive=(True, False)):
                    pte = mm.ptes[vpn].value
                    if not pte.present or pte.special:
                        continue
                    word = self.g.pages[pte.pfn].mapping.value
                    if word is not None and word.ksm:
                        self._say(
                            "ksm-page-in-unmergeable-vma",
                            AT_REST,
                            f"WARNING: KSM page(pfn={pte.pfn}) is mapped by {mm.name} at "
                            f"{vpn << PAGE_SHIFT:#x}, in a vma that is not VM_MERGEABLE",
                            corrupting=False,
                        )


def kpfn_of(node: StableNode) -> Pfn:
    """Return the frame number that a node names, whether it keeps the number or the page."""
    ref = node.kpfn.value
    return ref.pfn if isinstance(ref, Page) else ref
