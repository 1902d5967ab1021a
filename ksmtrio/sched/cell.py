# SPDX-License-Identifier: GPL-2.0-or-later
"""Cells: words of shared state that some actor touches without the lock of their writers.

Each access is one awaited operation: schedule point, use-after-free check, footprint, event and
notification of watchers come from the same call, so that they can never disagree. The `*_in_step`
operations belong to the step just announced (hardware does them in one go, or the specification
letters them as one): no schedule point, everything else as usual. Tests: `tests/unit/test_cell.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ksmtrio.sched.tap import RCU, READ, WRITE, life_of

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState
    from ksmtrio.sched.runtime import Runtime

T = TypeVar("T")

Watcher = Callable[["Cell[Any]", Any, Any, str], None]
"""Called after a write with (cell, old value, new value, label); must not change the machine."""


class Death:
    """Why an object must not be touched any more, and who did that.

    Attributes:
        kind: ``freed`` or ``removed`` (memmap of a removed section).
        actor: who ended the object's life, None before the start.
        at: label of the point where it happened.
        epoch: RCU epoch of the death, for type-stable slabs.
    """

    __slots__ = ("actor", "at", "epoch", "kind")

    def __init__(self, kind: str, actor: ActorState | None, at: str, epoch: int) -> None:
        self.kind = kind
        self.actor = actor
        self.at = at
        self.epoch = epoch


class Shared(Protocol):
    """An emulated structure that owns cells, locks and guarded fields."""

    rt: Runtime
    dead: Death | None

    @property
    def name(self) -> str:
        """Creation path or frame number; stable across schedules, never an address."""
        ...


class SharedObject:
    """Base of the emulated structures.

    Attributes:
        rt: the execution it belongs to.
        dead: set when the object was freed or its memory removed.
    """

    __slots__ = ("dead", "rt")

    rt: Runtime
    dead: Death | None

    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self.dead = None

    @property
    def name(self) -> str:
        """Name in traces and messages."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def __str__(self) -> str:
        return self.name

    def die(self, kind: str, at: str) -> None:
        """Mark the object as gone; the `slab` or `frames` oracle reports any later access."""
        rt = self.rt
        if self.dead is not None:
            rt.notice("double-free", self, at, f"double free of {self.name}", other=self.dead)
            return
        self.dead = Death(kind, rt.current, at, rt.next_epoch())
        if rt.recorder is not None:
            rt.recorder.aside(life_of(self.name), WRITE)
            rt.recorder.aside(RCU, WRITE)


def field_name(owner: Shared, field: str) -> str:
    """Return a field's name in messages: with its owner, unless that is the kernel itself."""
    return f"{owner.name}.{field}" if owner.name else field


class Cell(Generic[T]):
    """One word of shared state.

    Attributes:
        owner: the structure the word belongs to.
        field: kernel name of the field.
        value: read it directly only in oracles, set-up and dumps; checks of ours `look` at it.
        writer: who last changed it, for the signature of a finding.
        written_at: label of that change.
    """

    __slots__ = ("field", "owner", "rt", "value", "watchers", "writer", "written_at")

    def __init__(
        self, owner: Shared, field: str, value: T, watchers: tuple[Watcher, ...] = ()
    ) -> None:
        self.rt = owner.rt
        self.owner = owner
        self.field = field
        self.value = value
        self.watchers = watchers
        self.writer: ActorState | None = None
        self.written_at = ""

    @property
    def name(self) -> str:
        """Owner and field, e.g. ``page(pfn=3).mapping``."""
        return field_name(self.owner, self.field)

    def _store(self, at: str, new: T) -> None:
        old = self.value
        self.value = new
        self.writer = self.rt.current
        self.written_at = at
        if self.watchers:
            for watcher in self.watchers:
                watcher(self, old, new, at)

    async def read(self, at: str) -> T:
        """Return the word; one racy load."""
        rt = self.rt
        await rt.point(at, "read", self)
        if rt.recorder is not None:
            rt.recorder.operation(at, "read", self, self.value)
        return self.value

    async def write(self, at: str, value: T) -> None:
        """Store the word; one plain store."""
        rt = self.rt
        await rt.point(at, "write", self)
        self._store(at, value)
        if rt.recorder is not None:
            rt.recorder.operation(at, "write", self, value)

    async def cmpxchg(self, at: str, old: T, new: T) -> bool:
        """Store `new` if the word equals `old`; atomic; return whether it did."""
        rt = self.rt
        await rt.point(at, "cmpxchg", self)
        done = self.value == old
        if done:
            self._store(at, new)
        if rt.recorder is not None:
            rt.recorder.operation(at, "cmpxchg", self, done)
        return done

    def look(self) -> T:
        """Return the word to a check of ours, as a guard's: no access of the kernel."""
        rt = self.rt
        if rt.recorder is not None and rt.current is not None:
            rt.recorder.aside(self.name, READ)
        return self.value

    def read_in_step(self, at: str) -> T:
        """Return the word as part of the step just announced."""
        rt = self.rt
        rt.touch(at, self)
        if rt.recorder is not None:
            rt.recorder.operation(at, "read", self, self.value)
        return self.value

    def write_in_step(self, at: str, value: T) -> None:
        """Store the word as part of the step just announced."""
        rt = self.rt
        rt.touch(at, self)
        self._store(at, value)
        if rt.recorder is not None:
            rt.recorder.operation(at, "write", self, value)


class ReadWatched(Cell[T]):
    """A word whose loads are told to watchers too, as writes of the value that is there.

    Attributes:
        readers: called after a load; must not change the machine.
    """

    __slots__ = ("readers",)

    def __init__(
        self,
        owner: Shared,
        field: str,
        value: T,
        watchers: tuple[Watcher, ...] = (),
        readers: tuple[Watcher, ...] = (),
    ) -> None:
        super().__init__(owner, field, value, watchers)
        self.readers = readers

    async def read(self, at: str) -> T:
        """Return the word; one racy load."""
        value = await super().read(at)
        for reader in self.readers:
            reader(self, value, value, at)
        return value

    def read_in_step(self, at: str) -> T:
        """Return the word as part of the step just announced."""
        value = super().read_in_step(at)
        for reader in self.readers:
            reader(self, value, value, at)
        return value


class Counter(Cell[int]):
    """An atomic_t: every operation is one indivisible read-modify-write."""

    __slots__ = ()

    async def add(self, at: str, delta: int) -> int:
        """Add `delta` and return the new value."""
        rt = self.rt
        await rt.point(at, "add", self)
        new = self.value + delta
        self._store(at, new)
        if rt.recorder is not None:
            rt.recorder.operation(at, "add", self, new)
        return new

    async def inc(self, at: str) -> int:
        """Add one and return the new value."""
        return await self.add(at, 1)

    async def dec(self, at: str) -> int:
        """Subtract one and return the new value."""
        return await self.add(at, -1)

    async def dec_and_test(self, at: str) -> bool:
        """Subtract one and return whether the result is 0."""
        return await self.add(at, -1) == 0

    async def inc_not_zero(self, at: str) -> bool:
        """Add one unless the value is 0; return whether it did."""
        rt = self.rt
        await rt.point(at, "inc_not_zero", self)
        done = self.value != 0
        if done:
            self._store(at, self.value + 1)
        if rt.recorder is not None:
            rt.recorder.operation(at, "inc_not_zero", self, done)
        return done

    async def add_unless(self, at: str, delta: int, unless: int) -> bool:
        """Add `delta` unless the value is `unless`; return whether it did."""
        rt = self.rt
        await rt.point(at, "add_unless", self)
        done = self.value != unless
        if done:
            self._store(at, self.value + delta)
        if rt.recorder is not None:
            rt.recorder.operation(at, "add_unless", self, done)
        return done


class Flags(Cell[int]):
    """A word of flag bits; each operation touches one bit and is atomic. `names` renders them."""

    __slots__ = ("names",)

    def __init__(
        self,
        owner: Shared,
        field: str,
        value: int,
        names: dict[int, str],
        watchers: tuple[Watcher, ...] = (),
    ) -> None:
        super().__init__(owner, field, value, watchers)
        self.names = names

    async def _bit(self, at: str, kind: str, bit: int, *, new: bool | None = None) -> bool:
        rt = self.rt
        await rt.point(at, kind, self)
        old = bool(self.value & bit)
        if new is not None and new != old:
            self._store(at, self.value ^ bit)
        if rt.recorder is not None:
            rt.recorder.operation(at, f"{kind} {self.names[bit]}", self, old)
        return old

    async def test(self, at: str, bit: int) -> bool:
        """Return whether the bit is set."""
        return await self._bit(at, "test_bit", bit)

    async def set(self, at: str, bit: int) -> None:
        """Set the bit."""
        await self._bit(at, "set_bit", bit, new=True)

    async def clear(self, at: str, bit: int) -> None:
        """Clear the bit."""
        await self._bit(at, "clear_bit", bit, new=False)

    async def test_and_set(self, at: str, bit: int) -> bool:
        """Set the bit and return whether it was set before."""
        return await self._bit(at, "test_and_set_bit", bit, new=True)

    async def test_and_clear(self, at: str, bit: int) -> bool:
        """Clear the bit and return whether it was set before."""
        return await self._bit(at, "test_and_clear_bit", bit, new=False)

    def has(self, bit: int) -> bool:
        """Look without an operation: for set-up, oracles and assertions only."""
        return bool(self.value & bit)

    def change_in_step(self, at: str, *, set_: int = 0, clear: int = 0) -> None:
        """Change bits as part of the step just announced, under a lock named there."""
        self.write_in_step(at, (self.value | set_) & ~clear)


async def adjust(word: Cell[int], at: str, delta: int) -> None:
    """Add `delta` by a plain load and store: one step, for words whose writers share a lock."""
    await word.rt.point(at, "adjust", word)
    word.write_in_step(at, word.read_in_step(at) + delta)
