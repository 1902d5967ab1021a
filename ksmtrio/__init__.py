# SPDX-License-Identifier: GPL-2.0-or-later
"""Deterministic emulator of Linux KSM, page migration and memory hot-remove.

The public names are loaded when they are first used, so that `import ksmtrio` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ksmtrio.execution import Outcome, replay, run
    from ksmtrio.kconfig import Kernel, build_kernel
    from ksmtrio.oracles.base import Finding
    from ksmtrio.scenario import Scenario, load_scenario, parse_scenario
    from ksmtrio.sched.choices import Choices
    from ksmtrio.sched.strategies import StrategySpec
    from ksmtrio.trace.reader import Trace, read_trace
    from ksmtrio.trace.verdict import Verdict

__all__ = [
    "Choices",
    "Finding",
    "Kernel",
    "Outcome",
    "Scenario",
    "StrategySpec",
    "Trace",
    "Verdict",
    "build_kernel",
    "load_scenario",
    "parse_scenario",
    "read_trace",
    "replay",
    "run",
]

_HOMES: Final = {
    "Choices": "ksmtrio.sched.choices",
    "Finding": "ksmtrio.oracles.base",
    "Kernel": "ksmtrio.kconfig",
    "Outcome": "ksmtrio.execution",
    "Scenario": "ksmtrio.scenario",
    "StrategySpec": "ksmtrio.sched.strategies",
    "Trace": "ksmtrio.trace.reader",
    "Verdict": "ksmtrio.trace.verdict",
    "build_kernel": "ksmtrio.kconfig",
    "load_scenario": "ksmtrio.scenario",
    "parse_scenario": "ksmtrio.scenario",
    "read_trace": "ksmtrio.trace.reader",
    "replay": "ksmtrio.execution",
    "run": "ksmtrio.execution",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
