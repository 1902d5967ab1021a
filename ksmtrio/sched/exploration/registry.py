# SPDX-License-Identifier: GPL-2.0-or-later
"""Explorers by name. Tests: `tests/unit/test_exploration_base.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from ksmtrio.errors import BadInput
from ksmtrio.sched.exploration.base import Explorer, Settings
from ksmtrio.sched.exploration.dfs import Dfs
from ksmtrio.sched.exploration.dpor import MODES, Dpor
from ksmtrio.sched.exploration.stateful import PLAIN, Stateful

Factory: TypeAlias = Callable[[Settings], Explorer]
"""Makes an explorer. Raises BadInput: it cannot do what the settings ask."""


@attrs.frozen
class ExplorerKind:
    """An explorer as users see it.

    Attributes:
        description: for lists.
        factory: makes one.
        modes: what `Settings.mode` may be; empty: there is one way only.
        bound: preemption bound where the user gives none; None: unbounded.
    """

    description: str
    factory: Factory
    modes: tuple[str, ...] = ()
    bound: int | None = None


EXPLORERS: Final[dict[str, ExplorerKind]] = {
    "dfs": ExplorerKind(
        "depth first, preemption bound by preemption bound (default: up to 2)", Dfs, bound=2
    ),
    "dpor": ExplorerKind(
        "one execution for each happens-before class (optimal), or source sets, then also bounded",
        Dpor,
        modes=MODES,
    ),
    "stateful": ExplorerKind(
        "remembers visited states, folds identical tasks (mode plain: does not)",
        Stateful,
        modes=(PLAIN,),
    ),
}
"""Explorer name -> what it is."""


def make_explorer(name: str, settings: Settings) -> Explorer:
    """Return a fresh explorer.

    Raises:
        BadInput: there is none of that name, or it cannot do what the settings ask.
    """
    kind = explorer_kind(name)
    if settings.mode and settings.mode not in kind.modes:
        known = ", ".join(kind.modes) or "none"
        raise BadInput(f"{name} has no mode {settings.mode!r}; there are: {known}")
    return kind.factory(settings)


def explorer_kind(name: str) -> ExplorerKind:
    """Return the entry of an explorer.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in EXPLORERS:
        raise BadInput(f"unknown explorer {name!r}; choose one of: {', '.join(EXPLORERS)}")
    return EXPLORERS[name]
