# SPDX-License-Identifier: GPL-2.0-or-later
"""A task in user space that runs a program of system calls and memory accesses.

The named callers are presets of it: they differ in the program they run when the scenario gives
none. Tests: `tests/unit/test_actors.py`.
"""

from __future__ import annotations

import errno
from itertools import chain, repeat
from typing import Any, ClassVar

from actors.operations import OPERATIONS, Answer
from ksmtrio.errors import ScenarioError, SyscallError
from ksmtrio.machine import Machine
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.mm.signal import tell_life
from ksmtrio.scenario.operations import OPS
from ksmtrio.scenario.schema import ActorSpec, FrozenMap, Op
from ksmtrio.sched.tap import WRITE
from ksmtrio.uapi import syscalls
from ksmtrio.units import Vaddr


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

    def page_at(self, address: Vaddr) -> int:
        """Return the number of the page at an address; of one without number, the address."""
        assert self.spec.process is not None, "the scenario check asks for a process"
        known = self.machine.addresses[self.spec.process]
        return known.index(address) if address in known else address

    def nr_pages(self) -> int:
        """Return the number of pages of the process, 0 without one."""
        name = self.spec.process
        return len(self.machine.addresses[name]) if name is not None else 0

    async def run(self) -> None:
        """Run the program `repeat` times, or until the task exits."""
        program = chain.from_iterable(repeat(self.program, self.spec.repeat))
        for op in chain.from_iterable(repeat(op, op.repeat) for op in program):
            await self._perform(op)
            if self._exited:
                break
        tell_life(self.g, self.spec.name, WRITE)

    async def exit(self) -> None:
        """Give the address space up, if there is one, and make no more calls."""
        if self._exited:
            return
        self._exited = True
        if self.spec.process is not None:
            await syscalls.exit_(self.g, self.mm)

    async def _perform(self, op: Op) -> None:
        """Do one operation; compare its answer with what the scenario expects, if it does.

        A task with a fatal signal pending exits on its way back to user space, and so sees no
        answer.
        """
        answer: Answer
        try:
            answer = await OPERATIONS[op.op](self, op.args)
        except SyscallError as error:
            answer = -error.errno
        if not self._exited and await syscalls.return_to_user(self.g):
            await self.exit()
            return
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


def _spell(answer: Any) -> str:
    """Spell an answer so that numbers, errno names, texts and lists compare."""
    if isinstance(answer, list | tuple):
        return "[" + ", ".join(_spell(item) for item in answer) + "]"
    return errno_name(answer) if isinstance(answer, int) else str(answer)


def operation(name: str, **args: Any) -> Op:
    """Return an operation for a preset's default program; what is not given has its default."""
    defaults = {key: argument.default for key, argument in OPS[name].arguments.items()}
    return Op(op=name, args=FrozenMap({**defaults, **args}))
