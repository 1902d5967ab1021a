# SPDX-License-Identifier: GPL-2.0-or-later
"""Same scenario, kernel, strategy and seed: same bytes, in any process and under any hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import trio

from ksmtrio.execution import Outcome, execute, probe
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario, sample_names
from ksmtrio.sched.strategies import STRATEGIES as ALL_STRATEGIES
from ksmtrio.sched.strategies import resolve
from ksmtrio.subject import KernelSubject
from ksmtrio.trace.recorder import Recorder

WITHOUT = ("offline_locks_out_ksm", "recheck_ksm_under_page_lock")
STRATEGIES = [name for name in ALL_STRATEGIES if name != "replay"]


@cache
def digests() -> list[str]:
    """Return a line for each built-in scenario of the sample and each strategy."""
    lines: list[str] = []

    async def main() -> None:
        for name in sample_names():
            scenario, kernel = load_scenario(name), build_kernel(without=WITHOUT)
            profile = await probe(KernelSubject(scenario, kernel))
            for seed, strategy in enumerate(STRATEGIES):
                spec = resolve(strategy, seed, profile=profile)
                outcome = await execute(scenario, kernel, spec, recorder=Recorder())
                digest = f"{outcome.event_digest} {outcome.machine_digest}"
                lines.append(f"{name} {spec} {digest}")

    trio.run(main)
    return lines


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_other_processes_with_other_hash_seeds_give_the_same_digests(hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path.cwd())}
    code = "from tests.determinism.test_executions import digests; print('\\n'.join(digests()))"
    other = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert other.stdout.splitlines() == digests()


@pytest.mark.trio
async def test_recording_changes_nothing() -> None:
    scenario, kernel = load_scenario("offline_vs_ksmd"), build_kernel(without=WITHOUT)
    for seed in range(10):
        spec = resolve(None, seed, points=300)
        recorded = await execute(scenario, kernel, spec, recorder=Recorder())
        bare = await execute(scenario, kernel, spec, marks=False)
        assert recorded.choices == bare.choices
        assert recorded.signatures() == bare.signatures()
        assert recorded.points == bare.points


@pytest.mark.trio
async def test_executions_side_by_side_in_one_event_loop_do_not_meet() -> None:
    scenario, kernel = load_scenario("move_pages_vs_merge"), build_kernel(without=WITHOUT)
    specs = [resolve(None, seed, points=300) for seed in range(6)]
    alone = [(await execute(scenario, kernel, spec, recorder=Recorder())) for spec in specs]
    together: dict[int, Outcome] = {}

    async def one(number: int) -> None:
        together[number] = await execute(scenario, kernel, specs[number], recorder=Recorder())

    async with trio.open_nursery() as nursery:
        for number in range(len(specs)):
            nursery.start_soon(one, number)
    assert [together[n].event_digest for n in range(len(specs))] == [o.event_digest for o in alone]
