# SPDX-License-Identifier: GPL-2.0-or-later
"""Strategies of other packages: found by the entry-point group ``ksmtrio.strategies``.

An entry point loads to whatever makes a `Strategy` from a `StrategySpec`, usually the class itself.
Names of our own cannot be taken. Tests: `tests/unit/test_external_strategies.py`.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from ksmtrio.errors import BadInput
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
    """Return a fresh instance of an external strategy.

    Raises:
        BadInput: it cannot be imported, or what it makes is no strategy.
    """
    strategy = _load(spec.name)(spec)
    missing = [part for part in _PARTS if not hasattr(strategy, part)]
    if missing:
        where = external_strategies()[spec.name].value
        raise BadInput(f"strategy {spec.name!r} ({where}) has no {', '.join(missing)}")
    return strategy


@cache
def _load(name: str) -> Callable[[StrategySpec], Strategy]:
    entry = external_strategies()[name]
    try:
        factory: Callable[[StrategySpec], Strategy] = entry.load()
    except Exception as error:
        raise BadInput(
            f"strategy {name!r} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return factory
