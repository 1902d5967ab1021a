# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is: kernels, switches, scenarios, strategies, oracles, points, actor kinds.

Each function returns rows of plain data for the verb `list`. Tests: `tests/cli/test_cli_list.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import walk_packages
from statistics import median_low
from types import ModuleType
from typing import Any, Final, TypeAlias

import attrs
import trio

from ksmtrio.actor_api import actor_kinds, load_actor_kind
from ksmtrio.execution import execute, probe
from ksmtrio.kconfig import KERNELS, KINDS, SWITCHES, Kernel, build_kernel
from ksmtrio.oracles.registry import ORACLES
from ksmtrio.scenario import Scenario, builtin_groups, load_scenario
from ksmtrio.sched.points import points_of
from ksmtrio.sched.strategies import LEARNING, STRATEGIES, resolve
from ksmtrio.sched.strategies.external import describe_external, external_strategies
from ksmtrio.subject import KernelSubject

Row: TypeAlias = dict[str, Any]

SEEDS_FOR_MEDIAN: Final = {"races": 21, "pairs": 1}
"""Executions of each scenario of a group from which the median of its points is taken."""

_PACKAGES_WITH_POINTS: Final = (
    "ksmtrio.mm",
    "ksmtrio.base",
    "ksmtrio.uapi",
    "ksmtrio.notifier",
    "ksmtrio.machine",
)


def kernels() -> list[Row]:
    """Return every kernel."""
    return _described(KERNELS)


def switches() -> list[Row]:
    """Return every switch, with its kind and its state in each kernel."""
    states = {name: build_kernel(name).switches() for name in KERNELS}
    return [
        {
            **row,
            "kind": KINDS[row["name"]],
            "kernels": {name: on[row["name"]] for name, on in states.items()},
        }
        for row in _described(SWITCHES)
    ]


def strategies() -> list[Row]:
    """Return every strategy, those of other packages after our own."""
    ours = {**STRATEGIES, **LEARNING}
    others = [name for name in external_strategies() if name not in ours]
    return _described({**ours, **{name: describe_external(name) for name in others}})


def oracles() -> list[Row]:
    """Return every oracle."""
    return [{"name": name, "description": make().description} for name, make in ORACLES.items()]


def actors() -> list[Row]:
    """Return every installed actor kind, with the first line of its docstring."""
    rows = []
    for kind, where in actor_kinds().items():
        lines = (inspect.getdoc(load_actor_kind(kind)) or "").splitlines()
        rows.append({"name": kind, "description": lines[0] if lines else "", "file": where})
    return rows


def scenarios() -> list[Row]:
    """Return every built-in scenario with its group, actors and median of schedule points."""
    return trio.run(_scenarios)


async def _scenarios() -> list[Row]:
    kernel = build_kernel()
    rows = []
    for group, names in builtin_groups().items():
        for name in names:
            scenario = load_scenario(name)
            rows.append(
                {
                    "name": name,
                    "description": scenario.description,
                    "group": group,
                    "actors": [actor.name for actor in scenario.actors],
                    "points": await _median_points(scenario, kernel, SEEDS_FOR_MEDIAN[group]),
                }
            )
    return rows


async def _median_points(scenario: Scenario, kernel: Kernel, seeds: int) -> int:
    profile = await probe(KernelSubject(scenario, kernel))
    points = []
    for seed in range(seeds):
        spec = resolve(None, seed, profile=profile)
        points.append((await execute(scenario, kernel, spec, marks=False)).points)
    return median_low(points)


def points() -> list[Row]:
    """Return every declared schedule point, module by module, in order of declaration."""
    return [attrs.asdict(info) for info in points_of(list(_modules_with_points()))]


def _modules_with_points() -> Iterator[ModuleType]:
    for name in _PACKAGES_WITH_POINTS:
        module = import_module(name)
        yield module
        if hasattr(module, "__path__"):
            inner = sorted(found.name for found in walk_packages(module.__path__, f"{name}."))
            yield from map(import_module, inner)


def _described(entries: dict[str, str]) -> list[Row]:
    return [{"name": name, "description": text} for name, text in entries.items()]


LISTS: Final[dict[str, Callable[[], list[Row]]]] = {
    "kernels": kernels,
    "switches": switches,
    "scenarios": scenarios,
    "strategies": strategies,
    "oracles": oracles,
    "points": points,
    "actors": actors,
}
"""What the verb `list` can list."""
