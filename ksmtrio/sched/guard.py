# SPDX-License-Identifier: GPL-2.0-or-later
"""Guarded fields: plain Python state that only the holder of a named lock may touch.

The guard is part of the declaration. Touching the field without it is noticed and becomes a finding
(`locks:unguarded-access`); the access itself goes through, as on real hardware. Outside an
execution (set-up, oracles at quiescence) there is no current actor and no check. Tests:
`tests/unit/test_guard.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from ksmtrio.sched.cell import field_name

if TYPE_CHECKING:
    from ksmtrio.sched.actor_state import ActorState

T = TypeVar("T")

Guard = Callable[[Any, "ActorState"], bool]
"""(object, actor) -> may the actor touch the field now? It looks at cells by `Cell.look`."""

_CONTAINERS: Final = (dict, list, deque)
"""What who has got hold of it may change in place."""


class Guarded(Generic[T]):
    """Descriptor of a guarded field; the value lives in ``_<name>`` of the object.

    Oracles and dumps read ``_<name>``; everybody else goes through the descriptor.

    Args:
        guard: who may touch it.
        by: the lock's name for the message.
        writers: a stricter guard for assignment, where readers need less.
    """

    def __init__(self, guard: Guard, by: str, writers: Guard | None = None) -> None:
        self._guard = guard
        self._writers = guard if writers is None else writers
        self._by = by
        self._slot = ""
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._slot = "_" + name
        self._name = name

    @overload
    def __get__(self, obj: None, owner: type) -> Guarded[T]: ...
    @overload
    def __get__(self, obj: Any, owner: type) -> T: ...
    def __get__(self, obj: Any, owner: type) -> T | Guarded[T]:
        if obj is None:
            return self
        actor = obj.rt.current
        if actor is not None:
            if obj.dead is not None:
                obj.rt.dead_access(actor.at, obj, self._name)
            if not self._guard(obj, actor):
                self._notice(obj, actor)
        value: T = getattr(obj, self._slot)
        if actor is not None and obj.rt.recorder is not None:
            writes = isinstance(value, _CONTAINERS) and (
                self._writers is self._guard or self._writers(obj, actor)
            )
            obj.rt.recorder.guarded(obj, self._name, value, writes=writes)
        return value

    def __set__(self, obj: Any, value: T) -> None:
        actor = obj.rt.current
        if actor is not None:
            if obj.dead is not None:
                obj.rt.dead_access(actor.at, obj, self._name)
            if not self._writers(obj, actor):
                self._notice(obj, actor)
        setattr(obj, self._slot, value)
        if actor is not None and obj.rt.recorder is not None:
            obj.rt.recorder.guarded(obj, self._name, value, writes=True)

    def _notice(self, obj: Any, actor: ActorState) -> None:
        obj.rt.notice(
            "unguarded-access",
            obj,
            actor.at,
            f"{field_name(obj, self._name)} touched by {actor.name} without {self._by}",
        )
