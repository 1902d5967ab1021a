# SPDX-License-Identifier: GPL-2.0-or-later
"""Hashes of machine states: shared words, and what each actor has learned so far.

An actor's local state is a function of what its operations returned, so the chained hash of that
history stands for it. Shared state is a sum of terms, one a word, so that it can be kept up to date
by difference and does not depend on the order of writes. Values are encoded by stable names, never
by address: equal states of different executions have equal hashes. Tests:
`tests/unit/test_state.py`.

Differs from a hash of memory in being finer: two actors with equal variables but different
histories count as different, which costs time and never soundness.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from hashlib import blake2b
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import attrs
from sortedcontainers import SortedDict

from ksmtrio.errors import EmulatorError
from ksmtrio.sched.actor_state import ActorState, State
from ksmtrio.sched.cell import Cell, SharedObject, field_name
from ksmtrio.sched.tap import JIFFIES, RCU, READ, WRITE, Tap, life_of

if TYPE_CHECKING:
    from ksmtrio.sched.runtime import Runtime

STATE_BYTES: Final = 16
"""Size of a hash: among n states some two collide with probability below n^2 / 2^129."""

MASK: Final = (1 << 8 * STATE_BYTES) - 1

_PRIME: Final = (1 << 127) - 1
_BASE: Final = int.from_bytes(blake2b(b"history", digest_size=15).digest(), "big")
"""Histories are polynomials over this prime; the base is any large number."""

_LIFE: Final = life_of("")
_TERMS_MAX: Final = 200_000
_IN_ORDER: Final = "_queue"
"""Attribute of locks whose waiters are served in order; any other list of actors is a set."""

_PLUMBING: Final = frozenset(
    {"rt", "owner", "field", "name", "lock_class", "acquired_at", "_flags", "_bit"}
)
"""Attributes of locks that are constant, told elsewhere, or known from the holder's history."""


class Terms:
    """Text -> hash, remembered; shared by the executions of one search."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """Return the hash of a text."""
        term = self._known.get(text)
        if term is None:
            if len(self._known) >= _TERMS_MAX:
                self._known.clear()
            term = self._known[text] = hash_of(text)
        return term


def hash_of(text: str) -> int:
    """Return the hash of a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=STATE_BYTES).digest(), "big")


def text_of(value: Any, met: list[ActorState] | None = None) -> str:
    """Return a canonical text: equal for equal values, whichever execution they are from.

    Shared objects stand for themselves by name. Actors are left open and appended to `met`, so that
    the caller can say which part each of them plays, whoever it is.

    Raises:
        EmulatorError: the value has no stable description.
    """
    plain = _PLAIN.get(type(value))
    if plain is not None:
        return plain(value)
    if isinstance(value, ActorState):
        if met is None or value.index < 0:
            return f"@{value.name}"
        met.append(value)
        return "@"
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, tuple | list | deque):
        return f"[{' '.join([text_of(part, met) for part in value])}]"
    if isinstance(value, dict | SortedDict):
        pairs = [f"{text_of(k, met)}:{text_of(v, met)}" for k, v in value.items()]
        return f"{{{' '.join(pairs)}}}"
    if isinstance(value, set | frozenset):
        return f"<{' '.join(sorted(text_of(part, met) for part in value))}>"
    if isinstance(value, SharedObject | Cell) or hasattr(value, "owner"):
        return f"&{value.name}"
    return _record_text(value, met)


_PLAIN: Final[Mapping[type, Callable[[Any], str]]] = {
    int: str,
    bool: lambda value: "1" if value else "0",
    NoneType: lambda _: "-",
    str: repr,
    bytes: repr,
}
"""Plain values; True and 1 are equal in Python and here."""


def _record_text(value: Any, met: list[ActorState] | None) -> str:
    """Describe a record by its fields, a function by its name."""
    kind = type(value)
    if attrs.has(kind):
        fields = [text_of(getattr(value, field.name), met) for field in attrs.fields(kind)]
    elif callable(value) and hasattr(value, "__qualname__"):
        return f"def {value.__qualname__}"
    elif slots := _slots_of(kind):
        fields = [text_of(getattr(value, slot, None), met) for slot in slots]
    else:
        raise EmulatorError(f"a {kind.__name__} has no stable text; give it a name or fields")
    return f"{kind.__name__}({' '.join(fields)})"


def _slots_of(kind: type) -> list[str]:
    return [slot for base in reversed(kind.__mro__) for slot in _own_slots(base)]


def _own_slots(base: type) -> tuple[str, ...]:
    slots = base.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


@attrs.define(eq=False)
class _Local:
    """What is known of one actor.

    Attributes:
        kind: its class when identical actors are folded, else its name.
        history: chained hash of all that it did and learned.
        roles: lock, or word, -> the parts it plays there: holder, third in the queue.
        record: hash of it all, as of `seen`.
        seen: what `record` was computed from.
    """

    kind: str
    history: int = 1
    roles: dict[str, str] = attrs.field(factory=dict)
    record: int = 0
    seen: tuple[int, State, str, str] | None = None


class StateHash(Tap):
    """Keeps the hash of one execution's state.

    Args:
        terms: shared by the executions whose states are compared.
        symmetry: actors of one class (`ActorState.like`) are interchangeable.
    """

    def __init__(self, terms: Terms, *, symmetry: bool = False) -> None:
        self._terms = terms
        self._symmetry = symmetry
        self._locals: list[_Local] = []
        self._me: _Local | None = None
        self._shared = 0
        self._parts: dict[str, int] = {}
        self._dirty: dict[Any, None] = {}
        self._fields: dict[tuple[Any, str], Any] = {}
        self._names: dict[Any, str] = {}
        self._players: dict[str, list[_Local]] = {}
        self._dead = ""
        self._rt: Runtime | None = None

    # -- what is heard -------------------------------------------------------------------------

    def attach(self, rt: Runtime) -> None:
        """Look at this execution."""
        self._rt = rt

    def step(self, actor: ActorState) -> None:
        """Another transition: its label is part of the actor's history, its target may change."""
        self._me = self._local(actor) if actor.index < len(self.rt.actors) else None
        self._learn(f">{actor.at} {actor.op}")
        if actor.obj is not None:
            self._dirty[actor.obj] = None

    def operation(self, at: str, event: str, target: Any, value: Any) -> None:
        """The actor learned a value; the target may have changed."""
        self._learn(f"{at} {event}={text_of(value)}")
        if target is not None:
            self._dirty[target] = None

    def guarded(self, obj: Any, field: str, value: Any, *, writes: bool) -> None:
        """The actor read the field, or assigned it, or may change the container that it is."""
        self._learn(f"{field}={text_of(value)}")
        if writes:
            self._fields[obj, field] = value

    def aside(self, name: str, kind: int) -> None:
        """Deaths are shared state; who was inside an RCU section then may still look."""
        if name == JIFFIES:
            if kind & READ:
                self._learn(f"jiffies={self.rt.clock.jiffies}")
        elif name == RCU:
            self._rcu(kind)
        elif kind & WRITE and name.startswith(_LIFE):
            self._dead = name
            me = self.rt.current
            where = "" if me is None else f" {self._kind(me)} {me.at}"
            self._put(name, self._terms(f"{name}{where}"))

    def remembered(self, name: str, value: Any) -> None:
        """What an oracle keeps is as good as shared state."""
        self._put(name, self._terms(f"{name}={text_of(value)}"))

    def choice(self, stream: str, at: str, index: int, of: int, what: str) -> None:
        """The actor learned the outcome of a data or fault choice."""
        if stream != "schedule":
            self._learn(f"{at} {stream}={index}")

    # -- what is asked -------------------------------------------------------------------------

    @property
    def rt(self) -> Runtime:
        """The execution; one is attached before anything is heard."""
        assert self._rt is not None
        return self._rt

    def machine(self) -> int:
        """Return the hash of the state; the present transition has come to its end."""
        for (obj, field), value in self._fields.items():
            self._share(field_name(obj, field), value, "")
        self._fields.clear()
        for target in self._dirty:
            self._settle(target)
        self._dirty.clear()
        total = self._shared + self._terms(f"jiffies {self.rt.clock.jiffies}")
        for actor in self.rt.actors:
            total += self.record(actor)
        return total & MASK

    def record(self, actor: ActorState) -> int:
        """Return the hash of one actor; equal for actors that may be taken for one another."""
        local = self._local(actor)
        if actor.state is State.FINISHED and not actor.remembers:
            return self._terms(f"finished {local.kind}")
        roles = " ".join(sorted(local.roles.values())) if local.roles else ""
        seen = (local.history, actor.state, actor.at, roles)
        if seen != local.seen:
            local.seen = seen
            idle = " idle" if actor.idle else ""
            local.record = hash_of(
                f"{local.kind} {local.history} {actor.state.value}{idle} {actor.at} {roles}"
            )
        return local.record

    # -- how -----------------------------------------------------------------------------------

    def _kind(self, actor: ActorState) -> str:
        if self._symmetry and actor.like is not None:
            return f"like {actor.like}"
        return actor.name

    def _local(self, actor: ActorState) -> _Local:
        known = self._locals
        while len(known) <= actor.index:
            known.append(_Local(self._kind(self.rt.actors[len(known)])))
        return known[actor.index]

    def _learn(self, text: str) -> None:
        me = self._me
        if me is not None:
            me.history = (me.history * _BASE + self._terms(text)) % _PRIME

    def _put(self, name: str, term: int) -> None:
        """Set the term of one part of the shared state."""
        self._shared += term - self._parts.get(name, 0)
        self._parts[name] = term

    def name(self, target: Any) -> str:
        """Return the name of a cell or lock."""
        name = self._names.get(target)
        if name is None:
            name = self._names[target] = target.name
        return name

    def _settle(self, target: Any) -> None:
        """Encode a cell or a lock as it is now."""
        name = self.name(target)
        if isinstance(target, Cell):
            writer = target.writer
            by = "" if writer is None else f" by {self._kind(writer)} {target.written_at}"
            self._share(name, target.value, by)
        else:
            self._settle_lock(name, target)

    def _share(self, name: str, value: Any, by: str) -> None:
        met: list[ActorState] = []
        text = text_of(value, met)
        if met or name in self._players:
            self._cast(name, [(actor, f"{name} #{i}") for i, actor in enumerate(met)])
        self._put(name, self._terms(f"{name}={text}{by}"))

    def _settle_lock(self, name: str, lock: Any) -> None:
        """Encode a lock: its words are shared state, its holders and waiters have roles."""
        words: list[str] = []
        parts: list[tuple[ActorState, str]] = []
        for attribute in _slots_of(type(lock)):
            if attribute in _PLUMBING:
                continue
            value = getattr(lock, attribute)
            for place, item in enumerate(value if isinstance(value, list | deque) else (value,)):
                met: list[ActorState] = []
                text = text_of(item, met)
                where = f"[{place}]" if attribute == _IN_ORDER else ""
                role = f"{name}.{attribute}{where} {text}"
                parts.extend((actor, role) for actor in met)
                if not met:
                    words.append(f"{attribute}{where}={text}")
        self._cast(name, parts)
        self._put(name, self._terms(f"{name}: {' '.join(words)}"))

    def _cast(self, name: str, parts: list[tuple[ActorState, str]]) -> None:
        """Give actors their parts in `name`, and take the former ones away."""
        for local in self._players.pop(name, ()):
            local.roles.pop(name, None)
        if parts:
            players = self._players[name] = []
            for actor, role in parts:
                local = self._local(actor)
                local.roles[name] = f"{local.roles.get(name, '')}|{role}"
                players.append(local)

    def _rcu(self, kind: int) -> None:
        """A section begins, and all deaths are in its past; or an object dies during sections."""
        if kind & READ and self._me is not None:
            self._me.roles.pop(RCU, None)
        if kind & WRITE:
            for actor in self.rt.actors:
                if actor.rcu_depth:
                    roles = self._local(actor).roles
                    roles[RCU] = f"{roles.get(RCU, RCU)} {self._dead}"
