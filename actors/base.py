# SPDX-License-Identifier: GPL-2.0-or-later
"""A task in user space that runs a program of system calls and memory accesses.

The named callers are presets of it: they differ in the program they run when the scenario gives
none. Tests: `tests/unit/test_actors.py`.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from typing import Any, ClassVar

from ksmtrio.errors import ScenarioError, SyscallError
from ksmtrio.machine import Machine
from ksmtrio.mm.ksm import MADV_MERGEABLE, MADV_UNMERGEABLE
from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, MPOL_MF_STRICT
from ksmtrio.mm.mempolicy_alloc import MPOL_BIND
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.scenario.schema import ActorSpec, FrozenMap, Op
from ksmtrio.uapi import syscalls, sysfs, uaccess
from ksmtrio.units import PAGE_SIZE, Vaddr

ADVICE = {"MERGEABLE": MADV_MERGEABLE, "UNMERGEABLE": MADV_UNMERGEABLE}
FLAGS = {"STRICT": MPOL_MF_STRICT, "MOVE": MPOL_MF_MOVE, "MOVE_ALL": MPOL_MF_MOVE_ALL}

Answer = int | list[int] | None


def errno_name(answer: int) -> str:
    """Return ``-EBUSY`` for -16, and plain digits for what is not a negative errno."""
    return f"-{errno.errorcode[-answer]}" if -answer in errno.errorcode else str(answer)


class UserTask:
    """Runs any program of operations in a process."""

    background: ClassVar[bool] = False
    needs_pages: ClassVar[bool] = False
    """Whether the default program is about pages of the actor's process."""

    def __init__(self, machine: Machine, spec: ActorSpec) -> None:
        self.machine = machine
        self.g = machine.g
        self.spec = spec
        if not spec.program:
            self._check_default()
        self.program = spec.program or self.default_program()
        self._exited = False
        self._operations: dict[str, Callable[[Any], Awaitable[Answer]]] = {
            "load": self._load,
            "store": self._store,
            "madvise": self._madvise,
            "mbind": self._mbind,
            "move_pages": self._move_pages,
            "query_pages": self._query_pages,
            "munmap": self._munmap,
            "exit": self._exit,
            "offline": self._offline,
            "online": self._online,
            "remove_section": self._remove_section,
        }

    def _check_default(self) -> None:
        """Refuse to run nothing: a preset's own program is about the pages of a process."""
        if self.needs_pages and not self.nr_pages():
            source, name = self.machine.scenario.source, self.spec.name
            raise ScenarioError(
                f"{source}: actor {name!r} has neither a program nor pages for its kind's own; "
                "give it a program, or a process with at least one page"
            )

    def default_program(self) -> tuple[Op, ...]:
        """Return the program to run when the scenario gives none."""
        return ()

    @property
    def mm(self) -> MmStruct:
        """The task's address space."""
        assert self.spec.process is not None, "the scenario check asks for a process"
        return self.machine.processes[self.spec.process]

    def address(self, page: int) -> Vaddr:
        """Return the address of a page by its number in the process."""
        assert self.spec.process is not None, "the scenario check asks for a process"
        return self.machine.addresses[self.spec.process][page]

    def nr_pages(self) -> int:
        """Return the number of pages of the process, 0 without one."""
        name = self.spec.process
        return len(self.machine.addresses[name]) if name is not None else 0

    async def run(self) -> None:
        """Run the program `repeat` times, or until the task exits."""
        for op in chain.from_iterable(repeat(self.program, self.spec.repeat)):
            for _ in range(op.repeat):
                await self._perform(op)
                if self._exited:
                    return

    async def _perform(self, op: Op) -> None:
        """Do one operation; compare its answer with what the scenario expects, if it does."""
        answer: Answer
        try:
            answer = await self._operations[op.op](op.args)
        except SyscallError as error:
            answer = -error.errno
        if op.expect is None:
            return
        seen = _spell(answer)
        expected = _spell(op.expect)
        if seen != expected:
            rt = self.machine.rt
            rt.notice(
                "unexpected-answer",
                None,
                rt.me.at,
                f"{self.spec.name}: {op.op} answered {seen}, the scenario expects {expected}",
            )

    async def _load(self, args: Any) -> Answer:
        err, value = await uaccess.load(self.g, self.mm, self.address(args["page"]), args["half"])
        return err or value

    async def _store(self, args: Any) -> Answer:
        halves = (0, 1) if args["half"] is None else (args["half"],)
        for half in halves:
            address = self.address(args["page"])
            err = await uaccess.store(self.g, self.mm, address, half, args["value"])
            if err:
                return err
        return 0

    def _range(self, args: Any) -> tuple[Vaddr, int]:
        """Return (start, length) in bytes of a run of pages, holes between vmas included."""
        start = self.address(args["page"])
        last = self.address(args["page"] + args["pages"] - 1)
        return start, last + PAGE_SIZE - start

    async def _madvise(self, args: Any) -> Answer:
        start, length = self._range(args)
        return await syscalls.madvise(self.g, self.mm, start, length, ADVICE[args["advice"]])

    async def _mbind(self, args: Any) -> Answer:
        start, length = self._range(args)
        return await syscalls.mbind(
            self.g, self.mm, start, length, MPOL_BIND, args["nodes"], _bits(args["flags"])
        )

    async def _move_pages(self, args: Any) -> Answer:
        addresses = [self.address(page) for page in args["pages"]]
        nodes = [args["node"]] * len(addresses)
        return await syscalls.move_pages(self.g, self.mm, addresses, nodes, _bits(args["flags"]))

    async def _query_pages(self, args: Any) -> Answer:
        addresses = [self.address(page) for page in args["pages"]]
        return await syscalls.move_pages(self.g, self.mm, addresses, None, 0)

    async def _munmap(self, args: Any) -> Answer:
        start, length = self._range(args)
        return await syscalls.munmap(self.g, self.mm, start, length)

    async def _exit(self, _: Any) -> Answer:
        await syscalls.exit_(self.g, self.mm)
        self._exited = True
        return None

    async def _offline(self, args: Any) -> Answer:
        block = self.machine.memory_blocks[args["block"]]
        await sysfs.write_memory_state(self.g, block, "offline")
        return 0

    async def _online(self, args: Any) -> Answer:
        block = self.machine.memory_blocks[args["block"]]
        await sysfs.write_memory_state(self.g, block, "online")
        return 0

    async def _remove_section(self, args: Any) -> Answer:
        return await sysfs.eject_memory(self.g, self.machine.memory_blocks[args["block"]])


def _bits(names: tuple[str, ...]) -> int:
    return sum(FLAGS[name] for name in names)


def _spell(answer: Any) -> str:
    """Spell an answer so that numbers, errno names and lists of either compare."""
    if isinstance(answer, list | tuple):
        return "[" + ", ".join(_spell(item) for item in answer) + "]"
    return errno_name(answer) if isinstance(answer, int) else str(answer)


def operation(name: str, **args: Any) -> Op:
    """Return an operation for a preset's default program."""
    return Op(op=name, args=FrozenMap(args))
