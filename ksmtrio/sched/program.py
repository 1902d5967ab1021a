# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that are no kernels: a few tasks over cells and locks, for whoever studies schedules.

A program is a function that describes one execution: it makes cells and locks, names the tasks, and
says what must hold. It is called anew for each execution. Tests: `tests/unit/test_program.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

import attrs

from ksmtrio.errors import KsmtrioError
from ksmtrio.sched.cell import Cell, Counter, Flags, SharedObject

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState
    from ksmtrio.sched.runtime import Runtime

T = TypeVar("T")
P = ParamSpec("P")

_Truth: TypeAlias = object
"""Anything that counts as true or not, as in an assertion."""

AT_END: Final = "end"
"""Label of what is checked after all tasks have finished."""

ASSERTION: Final = "assertion"
"""Kind of the finding when a check fails."""

EXCEPTION: Final = "exception"
"""Kind of the finding when a task, or what is called at the end, raises one."""


class Box(SharedObject):
    """What owns a program's words; also the owner to give to the locks of `ksmtrio.locking`."""

    __slots__ = ("_label",)

    type_stable = False

    def __init__(self, rt: Runtime, label: str) -> None:
        super().__init__(rt)
        self._label = label

    @property
    def name(self) -> str:
        """Prefix of its fields in messages; empty for the program's own box."""
        return self._label


class IdealLock:
    """Mutual exclusion as papers have it: a contender is not enabled while somebody holds it.

    No queue, no order among contenders, no transition for being kept out. The kernel's locks, which
    have all these, are in `ksmtrio.locking`.
    """

    __slots__ = ("_contenders", "_holder", "name", "owner", "rt")

    def __init__(self, owner: Box, name: str) -> None:
        self.rt = owner.rt
        self.owner = owner
        self.name = name
        self._holder: ActorState | None = None
        self._contenders: list[ActorState] = []

    def holders(self) -> Sequence[ActorState]:
        """Return the holder, if any."""
        return () if self._holder is None else (self._holder,)

    async def acquire(self, at: str) -> None:
        """Take the lock, once nobody has it. Taking it twice is a deadlock."""
        rt, me = self.rt, self.rt.me
        self._contenders.append(me)
        await rt.point_when_open(at, "acquire", self, is_open=self._holder is None)
        self._contenders.remove(me)
        self._holder = me
        me.held.append(self)
        for contender in self._contenders:
            rt.disable(contender, self)
        if rt.recorder is not None:
            rt.recorder.operation(at, "acquire", self, None)

    async def release(self, at: str) -> None:
        """Release the lock; it must be the holder who does."""
        rt = self.rt
        await rt.point(at, "release", self)
        if self._holder is not rt.me:
            held = "nobody" if self._holder is None else self._holder.name
            text = f"{rt.me.name} releases {self.name}, held by {held}"
            rt.notice("foreign-unlock" if self._holder else "unlock-of-unlocked", self, at, text)
        if self._holder is None:
            return
        self._holder.held.remove(self)
        self._holder = None
        for contender in self._contenders:
            rt.wake(contender)
        if rt.recorder is not None:
            rt.recorder.operation(at, "release", self, None)


@attrs.define(eq=False)
class Program:
    """One execution of a program, while it is described and while it runs.

    Attributes:
        rt: the scheduler: `rt.yield_`, `rt.sleep`, `rt.fault` and so on.
        box: owner of the program's words.
        bodies: of the tasks, in order of creation.
        words: cells by name.
    """

    rt: Runtime
    box: Box = attrs.field(init=False)
    bodies: list[Callable[[], Awaitable[None]]] = attrs.field(factory=list)
    words: dict[str, Cell[Any]] = attrs.field(factory=dict)
    _log: Cell[tuple[str, ...]] = attrs.field(init=False)
    _ends: list[Callable[[], None]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.box = Box(self.rt, "")
        self._log = Cell(self.box, "log", ())

    @property
    def log(self) -> list[str]:
        """What the tasks noted."""
        return list(self._log.value)

    def cell(self, name: str, value: T) -> Cell[T]:
        """Return a new word: `await word.read(at)`, `.write(at, value)`, `.cmpxchg(...)`."""
        cell = Cell(self.box, name, value)
        self.words[name] = cell
        return cell

    def counter(self, name: str, value: int = 0) -> Counter:
        """Return a new atomic counter: `await count.add(at, delta)`, `.dec_and_test(at)`."""
        counter = Counter(self.box, name, value)
        self.words[name] = counter
        return counter

    def flags(self, name: str, bits: dict[int, str], value: int = 0) -> Flags:
        """Return a new word of flags; `bits` names them: `await flags.test_and_set(at, bit)`."""
        flags = Flags(self.box, name, value, bits)
        self.words[name] = flags
        return flags

    def object(self, name: str) -> Box:
        """Return a new object that may die (`die("freed", at)`); owner of words of its own."""
        return Box(self.rt, name)

    def lock(self, name: str) -> IdealLock:
        """Return a new ideal lock."""
        return IdealLock(self.box, name)

    def task(
        self,
        name: str,
        body: Callable[[], Awaitable[None]],
        *,
        like: str | None = None,
        background: bool = False,
        born: bool = True,
    ) -> ActorState:
        """Add a task; the order of calls is the order of choices.

        Args:
            name: shown in traces.
            body: what it does.
            like: tasks with the same word here do the same and may be taken for one another.
            background: it need not come to an end.
            born: it runs from the start; otherwise `rt.give_birth` lets it.
        """
        self.bodies.append(body)
        cpu = len(self.bodies) - 1
        actor = self.rt.add_actor(name, cpu=cpu, background=background, born=born, like=like)
        actor.remembers = True
        return actor

    def check(self, condition: _Truth, message: str, /, *, at: str | None = None) -> None:
        """Assert something; if it is not true, that is a finding, and the execution ends."""
        if not condition:
            me = self.rt.current
            where = at or (AT_END if me is None else me.at)
            self.rt.notice(ASSERTION, None, where, message)

    def at_end(self, function: Callable[[], None]) -> None:
        """Have a function called once all tasks have finished; it looks at `cell.value`."""
        self._ends.append(function)

    def note(self, text: str) -> None:
        """Log something under the current task's name, or its class, as part of its step.

        The log is part of the final state: the order of two notes is told apart.
        """
        me, log = self.rt.me, self._log
        log.write_in_step(me.at, (*log.value, f"{me.like or me.name}: {text}"))

    def choose(self, n: int, at: str) -> int:
        """Take a data choice below `n`; exploration tries all."""
        return self.rt.choose(n, at)

    async def run(self) -> None:
        """Run all tasks to the end of the execution, then look at what was to be checked."""
        await self.rt.run([partial(self._task, body) for body in self.bodies])
        if self.rt.stop_reason == "done":
            for function in self._ends:
                with self._watched(AT_END):
                    function()

    async def _task(self, body: Callable[[], Awaitable[None]]) -> None:
        with self._watched():
            await body()

    @contextmanager
    def _watched(self, at: str | None = None) -> Iterator[None]:
        """Make a finding of any exception that is the program's own."""
        try:
            yield
        except KsmtrioError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the program raises
            text = f"{type(error).__name__}: {error}"
            self.rt.notice(EXCEPTION, None, at or self.rt.me.at, text)

    def dump(self) -> dict[str, Any]:
        """Return the final state as plain data."""
        return {
            "words": {name: str(cell.value) for name, cell in self.words.items()},
            "log": self.log,
            "actors": sorted([a.like or a.name, a.state.value] for a in self.rt.actors),
            "stop": self.rt.stop_reason,
        }


Build: TypeAlias = Callable[[Program], None]
"""What describes a program."""


@attrs.frozen(eq=False)
class Instance:
    """A program of a family, its parameters given; made by `bind`."""

    build: Callable[..., None]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]

    def __call__(self, program: Program) -> None:
        """Describe one execution."""
        self.build(program, *self.arguments, **self.keywords)


def bind(
    build: Callable[Concatenate[Program, P], None], *args: P.args, **kwargs: P.kwargs
) -> Instance:
    """Return an instance of a family of programs: `lost_update_2 = bind(lost_update, 2)`.

    Raises:
        TypeError: the function does not take these arguments.
    """
    signature(build).bind(None, *args, **kwargs)
    return Instance(build, args, kwargs)
