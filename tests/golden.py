# SPDX-License-Identifier: GPL-2.0-or-later
"""The golden traces: which there are, and how to write them anew (`python -m tests.golden`).

Needed after a change of labels, steps or start states; the difference is reviewed as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import trio

from ksmtrio.execution import record_execution
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from tests.campaigns import follow
from tests.races.test_exact_schedules import A2, A, D, E
from tests.races.test_exact_swap import B, C

FOLDER: Final = Path(__file__).parent.parent / "traces" / "golden"


class Golden(NamedTuple):
    """One golden trace: a schedule of a built-in scenario on a kernel."""

    scenario: str
    turns: Sequence[str]
    without: Sequence[str] = ()


GOLDEN: Final[dict[str, Golden]] = {
    "race_a": Golden("offline_vs_ksmd", A, ["offline_locks_out_ksm"]),
    "race_a2": Golden("offline_vs_ksmd", A2, ["offline_locks_out_ksm"]),
    "race_b": Golden("offline_vs_swapcache", B, ["offline_locks_out_ksm"]),
    "race_c": Golden("offline_vs_reclaim", C, ["offline_locks_out_ksm"]),
    "race_d": Golden("offline_vs_ksmd", D, ["offline_locks_out_ksm"]),
    "race_e": Golden("move_pages_vs_merge", E, ["recheck_ksm_under_page_lock"]),
    "refused_under_page_lock": Golden("move_pages_vs_merge", E),
    "foreign_unlock": Golden(
        "first_race", ("ksmd@ksm_scan_thread.3", "hotplug"), ["ksm_notifier_first"]
    ),
    "half_freed_page": Golden(
        "offline_vs_exit", ("hotplug@offline_pages.8", "task_a@put_page.6#3", "hotplug")
    ),
}
"""File name without its ending -> what it shows."""


def write(name: str, folder: Path) -> Path:
    """Record one golden trace; return its file."""
    golden = GOLDEN[name]
    choices = follow(golden.scenario, *golden.turns, without=golden.without).choices
    path = folder / f"{name}.jsonl"
    scenario, kernel = load_scenario(golden.scenario), build_kernel(without=golden.without)
    trio.run(record_execution, scenario, kernel, choices, path)
    return path


if __name__ == "__main__":
    for each in GOLDEN:
        write(each, FOLDER)
