# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole emulated machine for unit tests of the kernel model, driven step by step.

A test describes the machine in a few lines of TOML (`machine`, `ksm`, `process`, `notifier` write
them) and says what runs in it: either coroutine functions, one an actor, which call kernel
functions
and system calls directly, or the programs of the scenario's own actors. All oracles look on, during
the execution and at rest. The steps of the conformance programs (scan, snapshot, store, ...) are
methods, so that what a real kernel answered can be written down as such. Tests: by use.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from errno import ENOMEM
from typing import Any, TypeVar

import attrs
import trio

from ksmtrio.errors import EmulatorError, SyscallError
from ksmtrio.kconfig import build_kernel
from ksmtrio.machine import Machine, build_machine
from ksmtrio.mm.fork import dup_mm
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm import MADV_MERGEABLE, MADV_UNMERGEABLE
from ksmtrio.mm.ksm_scan import ksm_do_scan
from ksmtrio.mm.ksm_types import Ksm, RmapItem, StableNode
from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_MOVE_ALL
from ksmtrio.mm.mempolicy_alloc import MPOL_BIND
from ksmtrio.mm.mm_types import MmStruct, Page, Pte, Vma, Watchers
from ksmtrio.mm.swap import lru_add_drain_all
from ksmtrio.oracles.base import Finding, Findings
from ksmtrio.oracles.registry import make_oracles
from ksmtrio.scenario.load import parse_scenario
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.strategies.replay import Replay
from ksmtrio.sched.strategies.round_robin import RoundRobin
from ksmtrio.sched.tap import Tap
from ksmtrio.uapi import syscalls, sysfs, uaccess
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE, Vaddr
from tests.harness import Turns

AT = "test"
"""Label of what a test does itself."""

Body = Callable[["KernelWorld"], Awaitable[None]]
T = TypeVar("T")
_PAGES_OF_A_FULL_SCAN = 1_000_000


# -- TOML ------------------------------------------------------------------------------------------


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return f'"{value}"'


def _table(header: str, **keys: Any) -> str:
    return f"{header}\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())


def machine(**keys: Any) -> str:
    """Return a [machine] table."""
    return _table("[machine]", **keys)


def ksm(*merged: Sequence[str], **keys: Any) -> str:
    """Return a [ksm] table and a [[ksm.merged]] for each group of pages, as ``["A:0", "B:0"]``."""
    groups = [_table("[[ksm.merged]]", pages=group) for group in merged]
    return "\n".join([_table("[ksm]", **keys), *groups])


def vma(contents: Sequence[int | str], **keys: Any) -> str:
    """Return a [[process.vma]] with a page for each content; ``-`` is never touched."""
    return _table("[[process.vma]]", pages=len(contents), contents=list(contents), **keys)


def process(name: str, *contents: int | str, **keys: Any) -> str:
    """Return a [[process]] with one vma, or with none where no contents are given."""
    head = _table("[[process]]", name=name)
    return f"{head}\n{vma(contents, **keys)}" if contents else head


def notifier(name: str, **keys: Any) -> str:
    """Return a [[notifier]]."""
    return _table("[[notifier]]", name=name, **keys)


def actor(name: str, kind: str, *program: dict[str, Any], **keys: Any) -> str:
    """Return an [[actor]] with a program of operations."""
    if program:
        keys["program"] = program
    return _table("[[actor]]", name=name, kind=kind, **keys)


# -- what a test sees ------------------------------------------------------------------------------


@attrs.frozen
class Shot:
    """One process in a snapshot, a character or an element a page.

    Attributes:
        node: nodes, ``-`` where nothing is mapped.
        ksm: ``K`` KSM page, ``p`` other page (the zero page too), ``-`` nothing.
        mapcount: as an element a page, -1 where nothing is mapped.
        group: the first page of the snapshot that maps the same frame.
    """

    node: str
    ksm: str
    mapcount: tuple[int, ...]
    group: tuple[str | None, ...]


class Log(Tap):
    """A recorder that keeps the label and the kind of every operation, and the tracepoints."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, str, str]] = []
        self.tracepoints: list[tuple[str, str]] = []

    def operation(self, at: str, event: str, target: Any, value: Any) -> None:
        """Keep label, event and the name of the target."""
        self.operations.append((at, event, target.name))

    def tracepoint(self, at: str, event: str, fields: dict[str, Any]) -> None:
        """Keep label and event."""
        self.tracepoints.append((at, event))


class _Scripted:
    """An actor of the scenario whose body the test gives."""

    def __init__(self, world: KernelWorld, body: Body) -> None:
        self._world = world
        self._body = body

    async def run(self) -> None:
        """Run the test's body."""
        await self._body(self._world)


class KernelWorld:
    """One machine in its start state, with oracles attached.

    Args:
        parts: TOML, joined; a `format`, a `name` and, for `go`, actors are added.
        actors: names of the actors whose bodies `go` is given.
        kernel: its name.
        with_: switches to turn on there.
        without: switches to turn off.
        strategy: takes the choices; by default every actor runs until it must stop.
        faults: fault choices that are allowed, see `choices`.
        choices: data and fault choices of the default strategy.
        recorder: gets every event.
        guarded: a guarded field touched without its lock fails the test, whatever it is about; off
            in tests of the guards, and always where switches are off.
    """

    def __init__(
        self,
        *parts: str,
        actors: Iterable[str] = ("task",),
        kernel: str = "v2.6.33",
        with_: Iterable[str] = (),
        without: Iterable[str] = (),
        strategy: Strategy | None = None,
        faults: Sequence[str] = (),
        choices: Choices | None = None,
        recorder: Tap | None = None,
        guarded: bool = True,
    ) -> None:
        head = f'format = 1\nname = "unit"\nfaults = {_toml(list(faults))}'
        text = "\n".join([head, *parts])
        if not re.search(r"^\[\[actor\]\]", text, re.MULTILINE):
            text = "\n".join([text, *(actor(name, "user_task") for name in actors)])
        self.oracles = make_oracles()
        watchers: Watchers = {}
        for oracle in self.oracles:
            for field, told in oracle.watchers().items():
                watchers[field] = watchers.get(field, ()) + told
        if strategy is None:
            strategy = Replay(choices or Choices(), exact=False)
        self.machine: Machine = build_machine(
            parse_scenario(text, "unit"),
            build_kernel(kernel, with_=with_, without=without),
            strategy,
            recorder=recorder,
            watchers=watchers,
        )
        self.findings = Findings(self.machine.rt)
        for oracle in self.oracles:
            oracle.attach(self.machine, self.findings)
        self.log: list[Any] = []
        self._guarded = guarded and not without

    @property
    def rt(self) -> Runtime:
        """The scheduler."""
        return self.machine.rt

    @property
    def g(self) -> Globals:
        """The kernel's global variables."""
        return self.machine.g

    @property
    def ksm(self) -> Ksm:
        """The globals of mm/ksm.c."""
        return self.machine.g.ksm

    # -- running -------------------------------------------------------------------------------

    def go(self, *bodies: Body, rest: bool = True) -> KernelWorld:
        """Run the bodies, one an actor in order of creation, to the end of the execution.

        Actors without a body (all of them, the swap device) are the scenario's own. A failed
        assertion in a body comes out as such.

        Args:
            bodies: coroutine functions that take the world.
            rest: judge the machine at rest; off where a test leaves it in the middle of something.
        """
        if bodies:
            scripted = [_Scripted(self, body) for body in bodies]
            self.machine.actors[: len(bodies)] = scripted  # type: ignore[assignment]
        try:
            trio.run(self.machine.run)
        except EmulatorError as error:
            if isinstance(error.__cause__, AssertionError):
                raise error.__cause__ from None
            raise
        if rest and self.rt.stop_reason == "done" and not self._corrupted():
            self.judge()
        touched = [f for f in self.findings.all() if f.kind == "unguarded-access"]
        assert not (self._guarded and touched), touched
        return self

    def _corrupted(self) -> bool:
        return any(finding.corrupting for finding in self.findings.all())

    def judge(self) -> list[Finding]:
        """Ask all oracles about the machine at rest; return all findings so far."""
        for oracle in self.oracles:
            oracle.quiescent()
        return self.findings.all()

    @property
    def found(self) -> list[str]:
        """``oracle:kind`` of every finding so far."""
        return [f"{finding.oracle}:{finding.kind}" for finding in self.findings.all()]

    # -- looking -------------------------------------------------------------------------------

    def mm(self, name: str) -> MmStruct:
        """Return a process's address space."""
        return self.machine.processes[name]

    def address(self, ref: str) -> Vaddr:
        """Return the address of a page, as ``A:0``."""
        name, _, number = ref.partition(":")
        return self.machine.addresses[name][int(number)]

    def _mm_of(self, ref: str) -> MmStruct:
        return self.mm(ref.partition(":")[0])

    def pte(self, ref: str) -> Pte:
        """Return the pte of a page."""
        return self._mm_of(ref).pte(self.address(ref)).value

    def page(self, ref: str) -> Page:
        """Return the frame that a page maps."""
        pte = self.pte(ref)
        assert pte.present, f"{ref} maps {pte}"
        return self.g.pages[pte.pfn]

    def vma(self, ref: str) -> Vma:
        """Return the area that holds a page."""
        address = self.address(ref)
        return next(v for v in self._mm_of(ref)._vmas if v._vm_start <= address < v._vm_end)

    def item(self, ref: str) -> RmapItem:
        """Return the rmap_item of a page."""
        mm, address = self._mm_of(ref), self.address(ref)
        return next(
            item
            for slot in self.ksm._mm_list
            if slot.mm is mm
            for item in slot.rmap_list.value
            if item._address >> PAGE_SHIFT == address >> PAGE_SHIFT
        )

    def node(self, ref: str) -> StableNode:
        """Return the stable_node that a page's mapping word names."""
        word = self.page(ref).mapping.value
        assert word is not None
        assert word.ksm
        assert word.target is not None
        node: StableNode = word.target
        return node

    def contents(self, name: str) -> list[Any]:
        """Return each page's content: a token, a pair if torn, None if nothing is mapped."""
        contents: list[Any] = []
        for address in self.machine.addresses[name]:
            pte = self.mm(name).pte(address).value
            if not pte.present:
                contents.append(None)
            elif pte.special:
                contents.append(0)
            else:
                first, second = (half.value for half in self.g.pages[pte.pfn].content)
                contents.append(first if first == second else (first, second))
        return contents

    def counters(self) -> tuple[int, int, int, int]:
        """Return (shared, sharing, unshared, volatile) as sysfs would show them."""
        ksm = self.ksm
        shared = ksm.ksm_pages_shared.value
        sharing = ksm.ksm_pages_sharing.value
        unshared = ksm.ksm_pages_unshared.value
        volatile = ksm.ksm_rmap_items.value - shared - sharing - unshared
        return shared, sharing, unshared, max(volatile, 0)

    def shot(self, *names: str) -> Shot | tuple[Shot, ...]:
        """Take a snapshot of one process, or of several with groups across them."""
        first: dict[int, str] = {}
        shots = tuple(self._shot(name, first) for name in names)
        return shots[0] if len(shots) == 1 else shots

    def _shot(self, name: str, first: dict[int, str]) -> Shot:
        node, ksm_ = "", ""
        mapcount: list[int] = []
        group: list[str | None] = []
        for number, address in enumerate(self.machine.addresses[name]):
            pte = self.mm(name).pte(address).value
            if not pte.present:
                node, ksm_ = f"{node}-", f"{ksm_}-"
                mapcount.append(-1)
                group.append(None)
                continue
            group.append(first.setdefault(pte.pfn, f"{name}{number}"))
            if pte.special:
                node, ksm_ = f"{node}0", f"{ksm_}p"
                mapcount.append(0)
                continue
            page = self.g.pages[pte.pfn]
            word = page.mapping.value
            node += str(page.nid)
            ksm_ += "K" if word is not None and word.ksm else "p"
            mapcount.append(page.mapcount.value + 1)
        return Shot(node, ksm_, tuple(mapcount), tuple(group))

    def frames(self, name: str) -> list[int]:
        """Return the frame of each page, -1 where nothing is mapped."""
        mm = self.mm(name)
        return [mm.pte(address).value.pfn for address in self.machine.addresses[name]]

    # -- steps of the conformance programs -----------------------------------------------------

    async def drain(self) -> None:
        """Drain the pagevecs of all CPUs."""
        await lru_add_drain_all(self.g, AT)

    async def scan(self, times: int = 1) -> None:
        """Let ksmd scan everything, each time with empty pagevecs."""
        for _ in range(times):
            await self.drain()
            await self.batch(_PAGES_OF_A_FULL_SCAN)

    async def batch(self, pages: int) -> None:
        """Let ksmd scan a number of pages."""
        await self.ksm.ksm_thread_mutex.lock(AT)
        await ksm_do_scan(self.g, pages)
        await self.ksm.ksm_thread_mutex.unlock(AT)

    async def store(self, ref: str, value: int) -> int:
        """Store both halves of a page; return 0 or a negative errno."""
        for half in (0, 1):
            err = await uaccess.store(self.g, self._mm_of(ref), self.address(ref), half, value)
            if err:
                return err
        return 0

    async def load(self, ref: str) -> tuple[int, int]:
        """Load the first half of a page; return (error, value)."""
        return await uaccess.load(self.g, self._mm_of(ref), self.address(ref), 0)

    def _range(self, ref: str, pages: int) -> tuple[MmStruct, Vaddr, int]:
        return self._mm_of(ref), self.address(ref), pages * PAGE_SIZE

    async def madvise(self, ref: str, pages: int, *, mergeable: bool) -> int:
        """Give advice on `pages` pages from `ref` on; return 0 or a negative errno."""
        advice = MADV_MERGEABLE if mergeable else MADV_UNMERGEABLE
        return await answer(syscalls.madvise(self.g, *self._range(ref, pages), advice))

    async def munmap(self, ref: str, pages: int) -> int:
        """Unmap `pages` pages from `ref` on."""
        return await answer(syscalls.munmap(self.g, *self._range(ref, pages)))

    async def mbind(self, ref: str, pages: int, *, node: int = 1, flags: int) -> int:
        """Bind `pages` pages from `ref` on to a node."""
        where = self._range(ref, pages)
        return await answer(syscalls.mbind(self.g, *where, MPOL_BIND, (node,), flags))

    async def move(self, *refs: str, node: int, everyone: bool = False) -> list[int] | int:
        """Move pages of one process to a node; return the statuses or a negative errno."""
        flags = MPOL_MF_MOVE_ALL if everyone else MPOL_MF_MOVE
        addresses = [self.address(ref) for ref in refs]
        nodes = [node] * len(refs)
        mm = self._mm_of(refs[0])
        return await answer(syscalls.move_pages(self.g, mm, addresses, nodes, flags))

    async def query(self, *refs: str) -> list[int]:
        """Ask move_pages where pages are."""
        addresses = [self.address(ref) for ref in refs]
        return await syscalls.move_pages(self.g, self._mm_of(refs[0]), addresses, None, 0)

    async def write_state(self, block: int, text: str) -> int:
        """Write a memory block's state file; return 0 or a negative errno."""
        written = await answer(
            sysfs.write_memory_state(self.g, self.machine.memory_blocks[block], text)
        )
        return min(written, 0)

    async def offline(self, block: int) -> int:
        """Take a memory block offline."""
        return await self.write_state(block, "offline")

    async def online(self, block: int) -> int:
        """Bring a memory block online."""
        return await self.write_state(block, "online")

    async def fork(self, parent: str, child: str) -> int:
        """Fork a process; the child's pages have the same numbers. Returns 0 or -ENOMEM."""
        mm = await dup_mm(self.g, self.mm(parent), child)
        if mm is None:
            return -ENOMEM
        self.machine.processes[child] = mm
        self.machine.addresses[child] = list(self.machine.addresses[parent])
        return 0

    async def read(self, path: str) -> str | int:
        """Read a file of sysfs, without the newline; a negative errno if that fails."""
        text = await answer(sysfs.read(self.g, path))
        return text.removesuffix("\n") if isinstance(text, str) else text

    async def write(self, path: str, text: str) -> int:
        """Write a file of sysfs; return 0 or a negative errno."""
        return min(await answer(sysfs.write(self.g, path, text)), 0)

    async def exit(self, name: str) -> None:
        """Let a process exit."""
        await syscalls.exit_(self.g, self.mm(name))


async def answer(call: Awaitable[T]) -> T | int:
    """Await a system call; return its answer, an error as a negative errno."""
    try:
        return await call
    except SyscallError as error:
        return -error.errno


def run(body: Body, *parts: str, **options: Any) -> KernelWorld:
    """Build a machine, run one body in it, and demand that no oracle found anything."""
    world = KernelWorld(*parts, **options).go(body)
    assert world.found == []
    return world


def turns(*steps: str) -> Turns:
    """Return a schedule spelled out, as in `tests.harness`."""
    return Turns(*steps)


def round_robin(seed: int = 0) -> RoundRobin:
    """Return the strategy in which actors take turns."""
    return RoundRobin(seed)
