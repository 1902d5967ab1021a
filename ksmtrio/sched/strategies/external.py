# SPDX-License-Identifier: GPL-2.0-or-later
"""Strategies of other packages: found by the entry-point group ``ksmtrio.strategies``.

An entry point loads to whatever makes a `Strategy` from a `StrategySpec`, usually the class itself.
Names of our own cannot be taken. What such a strategy does wrong is its author's to mend, never a
fault of ours nor a replay that diverged. Tests: `tests/unit/test_external_strategies.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from ksmtrio.errors import BadInput
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from ksmtrio.sched.strategies import StrategySpec

GROUP: Final = "ksmtrio.strategies"

_PARTS: Final = ("watches", "pick", "choose", "demote", "step")


@cache
def external_strategies() -> dict[str, EntryPoint]:
    """Return what is installed, by name, sorted; remembered for the life of the process."""
    return {e.name: e for e in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value))}


def describe_external(name: str) -> str:
    """Return the first line of an external strategy's docstring, or why there is none."""
    try:
        lines = (inspect.getdoc(_load(name)) or "").splitlines()
    except BadInput as error:
        return str(error)
    return lines[0] if lines else f"no description ({external_strategies()[name].value})"


def build_external(spec: StrategySpec) -> Strategy:
    """Return a fresh instance of an external strategy, whose answers are checked.

    Raises:
        BadInput: it cannot be imported or made, or what is made is no strategy.
    """
    factory, where = _load(spec.name), _described(spec.name)
    with _blamed(where):
        strategy = factory(spec)
    missing = [part for part in _PARTS if not hasattr(strategy, part)]
    if missing:
        raise BadInput(f"{where} has no {', '.join(missing)}")
    return _Checked(strategy, where)


class _Checked:
    """Passes an external strategy's choices on, if they are any.

    Args:
        inner: the strategy.
        where: what errors call it.
    """

    def __init__(self, inner: Strategy, where: str) -> None:
        self._inner = inner
        self._where = where
        self.watches = inner.watches

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return its choice.

        Raises:
            BadInput: it is not one of the enabled actors.
        """
        with _blamed(self._where):
            index = self._inner.pick(enabled, current)
        return self._checked(index, len(enabled), "actors enabled")

    def choose(self, stream: str, n: int) -> int:
        """Return its choice.

        Raises:
            BadInput: it is not one of the outcomes.
        """
        with _blamed(self._where):
            index = self._inner.choose(stream, n)
        return self._checked(index, n, f"outcomes for the {stream} stream")

    def demote(self, actor: ActorState) -> None:
        """Tell it."""
        with _blamed(self._where):
            self._inner.demote(actor)

    def step(self, actor: ActorState) -> None:
        """Tell it."""
        with _blamed(self._where):
            self._inner.step(actor)

    def _checked(self, index: object, n: int, what: str) -> int:
        if not isinstance(index, int) or not 0 <= index < n:
            raise BadInput(f"{self._where} chose {index!r}; with {n} {what} it is 0 to {n - 1}")
        return index


@contextmanager
def _blamed(where: str) -> Iterator[None]:
    """Have whatever an external strategy raises say whose it is."""
    try:
        yield
    except Exception as error:
        raise BadInput(f"{where} raised {type(error).__name__}: {error}") from error


def _described(name: str) -> str:
    return f"strategy {name!r} ({external_strategies()[name].value})"


@cache
def _load(name: str) -> Callable[[StrategySpec], Strategy]:
    try:
        factory: Callable[[StrategySpec], Strategy] = external_strategies()[name].load()
    except Exception as error:
        raise BadInput(
            f"{_described(name)} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return factory
