# SPDX-License-Identifier: GPL-2.0-or-later
"""What a scenario says, as immutable records.

Owns the names of the records' fields (the TOML keys). Reads no files and checks nothing: `load.py`
builds these records from TOML, `check.py` says whether they fit together.
Tests: `tests/unit/test_scenario_load.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

FORMAT: Final = 1
"""Version of the scenario format."""

CONTENT_MAX: Final = 2**31 - 1
"""Largest content token of a page."""

SWAP_STATES: Final = ("none", "cache", "mapped", "out")
"""Where the touched pages of an area may be at the start."""

FAULTS: Final = ("early-expiry", "enomem", "signal")
"""Fault choices that a scenario may allow."""

COUNTERS: Final = ("pages_shared", "pages_sharing", "pages_unshared")
"""Counters of KSM that `[end]` may expect."""

V = TypeVar("V")


class FrozenMap(Mapping[str, V], Generic[V]):
    """A mapping with string keys that never changes: hashable, comparable, pickles."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, V] | None = None) -> None:
        self._items: dict[str, V] = dict(items or {})

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenMap({self._items!r})"

    def __reduce__(self) -> tuple[type[FrozenMap[V]], tuple[dict[str, V]]]:
        return FrozenMap, (self._items,)


def _no_numbers() -> FrozenMap[int]:
    return FrozenMap()


@attrs.frozen
class PageRef:
    """A page of a process, counted over its vmas in order: ``A:0``."""

    process: str
    page: int

    def __str__(self) -> str:
        return f"{self.process}:{self.page}"


@attrs.frozen(kw_only=True)
class MachineSpec:
    """The emulated machine.

    Attributes:
        cpus: 0 means one for each actor.
        blocks_per_node: memory blocks a node; block b belongs to node b // blocks_per_node.
        pages_per_block: block b holds frames [b * pages_per_block, (b + 1) * pages_per_block).
        pages_per_pageblock: 0 means the whole block; divides `pages_per_block`.
        movable_blocks: blocks that can be offlined; None means all.
        mixed_zone_blocks: blocks that lie in two zones, as the first one on x86 does.
        pagevecs: pages wait in per-CPU lists before they reach an LRU list.
        offline_timeout_jiffies: after that long offline_pages gives up.
        points_max: an execution with more schedule points ends with a finding.
        swap_slots: pages that fit into the swap area; 0: there is none.
    """

    cpus: int = 0
    nodes: int = 2
    blocks_per_node: int = 1
    pages_per_block: int = 8
    pages_per_pageblock: int = 0
    movable_blocks: tuple[int, ...] | None = None
    mixed_zone_blocks: tuple[int, ...] = ()
    pagevecs: bool = True
    hibernation: bool = False
    offline_timeout_jiffies: int = 8
    points_max: int = 20_000
    swap_slots: int = 0

    @property
    def nr_blocks(self) -> int:
        """Memory blocks of the whole machine."""
        return self.nodes * self.blocks_per_node


@attrs.frozen(kw_only=True)
class MergedSpec:
    """Pages that are one KSM page at the start; the first one's frame is the one they share."""

    pages: tuple[PageRef, ...]


@attrs.frozen(kw_only=True)
class KsmSpec:
    """The knobs of KSM and what it has done before the start.

    Attributes:
        run: 0 or 1, as in sysfs.
        batches: how often ksmd scans `pages_to_scan` pages before its budget is used.
        cursor: where the scan begins; None: before the first process.
    """

    run: int = 1
    pages_to_scan: int = 100
    sleep_millisecs: int = 20
    batches: int = 1
    cursor: PageRef | None = None
    merged: tuple[MergedSpec, ...] = ()


@attrs.frozen(kw_only=True)
class VmaSpec:
    """One anonymous area of a process.

    Attributes:
        pages: its length.
        contents: one token a page; None: never touched.
        node: where its frames are; at most one of `node` and `block`; neither means node 0.
        locked: it is VM_LOCKED, and the pages it was touched with are mlocked.
        pte: ``rw`` or ``ro``: how its pages are mapped at the start.
        checksum: its rmap_items exist at the start, with an up-to-date oldchecksum.
        mapped: false: its pages have numbers and addresses only, for calls that map there.
        swap: where its touched pages are: in memory alone (``none``), in the swap cache with swap
            entries (``cache``) or mapped (``mapped``), or on disk only (``out``).
    """

    pages: int
    contents: tuple[int | None, ...]
    mergeable: bool = False
    node: int | None = None
    block: int | None = None
    locked: bool = False
    pte: str = "rw"
    checksum: bool = False
    mapped: bool = True
    swap: str = "none"


@attrs.frozen(kw_only=True)
class ProcessSpec:
    """An address space.

    Attributes:
        forked_from: the process it is a fresh fork of: the same `vmas`, which it then shares page
            by page, read-only on both sides.
        at: ``start``, or ``fork``: it does not exist until an operation forks it.
    """

    name: str
    vmas: tuple[VmaSpec, ...] = ()
    forked_from: str | None = None
    at: str = "start"

    @property
    def nr_pages(self) -> int:
        """Pages over all vmas."""
        return sum(vma.pages for vma in self.vmas)


@attrs.frozen(kw_only=True)
class NotifierSpec:
    """A memory notifier beside the one of KSM.

    Attributes:
        veto: refuses MEM_GOING_OFFLINE.
        errno: name of the errno it refuses with, as ``EBUSY``; empty: NOTIFY_BAD.
        lock: keeps a mutex of its own from GOING_OFFLINE to OFFLINE or CANCEL_OFFLINE.
    """

    name: str
    priority: int = 0
    veto: bool = False
    errno: str = ""
    lock: bool = False


@attrs.frozen(kw_only=True)
class Op:
    """One operation of a program.

    Attributes:
        op: key of `operations.OPS`.
        args: every argument of the operation, defaults filled in; lists are tuples.
        repeat: how often, one after the other.
        expect: its answer: a number, a text, an errno as ``-EBUSY``, or a tuple of statuses.
        line: where it is in the TOML source, counted from 1.
    """

    op: str
    args: Mapping[str, Any] = attrs.field(factory=FrozenMap)
    repeat: int = 1
    expect: int | str | tuple[int | str, ...] | None = None
    line: int = 0


@attrs.frozen(kw_only=True)
class ActorSpec:
    """One thread of execution.

    Attributes:
        kind: name of an actor kind, e.g. ``user_task``.
        process: whose address space it runs in.
        cpu: None means one of its own.
        repeat: how often the program runs.
    """

    name: str
    kind: str
    process: str | None = None
    cpu: int | None = None
    program: tuple[Op, ...] = ()
    repeat: int = 1


@attrs.frozen(kw_only=True)
class EndSpec:
    """What is expected at quiescence.

    Attributes:
        counters: counter of KSM -> value.
        contents: page as ``A:0`` -> token.
    """

    counters: Mapping[str, int] = attrs.field(factory=_no_numbers)
    contents: Mapping[str, int] = attrs.field(factory=_no_numbers)


@attrs.frozen(kw_only=True)
class Scenario:
    """A whole scenario.

    Attributes:
        faults: fault choices that are allowed, of `FAULTS`.
        text: the TOML source.
        source: file name, or name of a built-in scenario.
    """

    format: int
    name: str
    description: str
    machine: MachineSpec
    ksm: KsmSpec
    processes: tuple[ProcessSpec, ...]
    notifiers: tuple[NotifierSpec, ...]
    actors: tuple[ActorSpec, ...]
    faults: tuple[str, ...]
    end: EndSpec
    text: str
    source: str
