# SPDX-License-Identifier: GPL-2.0-or-later
"""Both hosts: the same choices in, the same digests out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksmtrio.execution import Outcome, replay_trace, run_execution
from ksmtrio.kconfig import Kernel, build_kernel
from ksmtrio.scenario import Scenario, builtin_groups, load_scenario
from ksmtrio.sched.strategies import resolve
from ksmtrio.trace.recorder import Recorder

GOLDEN = sorted((Path(__file__).parents[2] / "traces").rglob("*.jsonl*"))
EXECUTIONS = 100_000


def outcomes(scenario: Scenario, kernel: Kernel, seed: int) -> list[Outcome]:
    spec = resolve("random", seed)
    return [
        run_execution(scenario, kernel, spec, recorder=Recorder(), host=host)
        for host in ("trio", "bare")
    ]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_golden_trace_replays_on_the_bare_host(path: Path) -> None:
    assert replay_trace(path, "bare").same


@pytest.mark.parametrize("without", [(), ("offline_locks_out_ksm", "recheck_ksm_under_page_lock")])
def test_hosts_agree_on_every_scenario(without: tuple[str, ...]) -> None:
    kernel = build_kernel(without=without)
    pairs = builtin_groups()["pairs"]
    for group, names in builtin_groups().items():
        for name in names if group != "pairs" else pairs[:: 8 if without else 4]:
            trio_outcome, bare_outcome = outcomes(load_scenario(name), kernel, 1)
            assert trio_outcome == bare_outcome, name


@pytest.mark.slow
def test_hosts_agree_on_a_hundred_thousand_random_executions() -> None:
    kernels = [build_kernel(), build_kernel(without=["offline_locks_out_ksm"])]
    scenarios = [load_scenario(name) for names in builtin_groups().values() for name in names]
    for number in range(EXECUTIONS):
        scenario = scenarios[number % len(scenarios)]
        trio_outcome, bare_outcome = outcomes(scenario, kernels[number % 2], number)
        assert trio_outcome == bare_outcome, (scenario.name, number)
