# SPDX-License-Identifier: GPL-2.0-or-later
"""A seed gives one schedule, in any process, under any hash seed and any run order of trio."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import trio

from ksmtrio.sched.strategies import build, resolve
from tests.harness import execute, run_actors
from tests.programs import FAULTS, busy, outcome

ROOT = Path(__file__).parents[2]
STRATEGIES = ["random", "round-robin", "pct", "pos"]


@lru_cache
def elsewhere(strategy: str, seed: int, hash_seed: str, *words: str) -> tuple[bool, str, str]:
    """Run the busy program twice in a process of its own.

    Returns:
        whether trio's own order varied there, and the two outcomes as text.
    """
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.programs", strategy, str(seed), *words],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    shuffled, *outcomes = json.loads(done.stdout)
    first, second = (json.dumps(one, sort_keys=True) for one in outcomes)
    return shuffled, first, second


def here(strategy: str, seed: int) -> str:
    """Run the busy program in this process."""
    spec = resolve(strategy, seed, points=30)
    world = run_actors(busy, strategy=build(spec), faults=FAULTS)
    return json.dumps(outcome(world), sort_keys=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_same_seed_gives_the_same_execution_under_any_hash_seed(strategy: str) -> None:
    expected = here(strategy, 5)
    for hash_seed in ("0", "1", "4711"):
        _, first, second = elsewhere(strategy, 5, hash_seed)
        assert first == expected
        assert second == expected


@pytest.mark.parametrize("words", [(), ("plugins",), ("bystanders",), ("plugins", "bystanders")])
def test_run_order_of_trio_and_test_plugins_do_not_matter(words: tuple[str, ...]) -> None:
    _, first, second = elsewhere("random", 8, "random", *words)
    assert first == second == here("random", 8)


def test_trio_itself_varies_its_run_order_in_a_plain_process() -> None:
    """Documents why nothing here may lean on it: equal tasks start in varying order."""
    shuffled, _, _ = elsewhere("random", 8, "random")
    assert shuffled


def test_other_seeds_give_other_executions() -> None:
    assert len({here("random", seed) for seed in range(10)}) > 8


def test_many_executions_side_by_side_do_not_disturb_each_other() -> None:
    seeds = range(12)
    results: dict[int, str] = {}

    async def one(seed: int) -> None:
        spec = resolve("random", seed, points=30)
        world = await execute(busy, build(spec), faults=FAULTS)
        results[seed] = json.dumps(outcome(world), sort_keys=True)

    async def all_at_once() -> None:
        async with trio.open_nursery() as nursery:
            for seed in seeds:
                nursery.start_soon(one, seed)

    trio.run(all_at_once)
    assert results == {seed: here("random", seed) for seed in seeds}


def test_baton_is_never_shared() -> None:
    class Profile(trio.abc.Instrument):
        """Counts tasks of the execution that trio could run at one time."""

        def __init__(self) -> None:
            self.names: set[str] = set()
            self.ready: set[Any] = set()
            self.most = 0

        def task_scheduled(self, task: trio.lowlevel.Task) -> None:
            if self.started and task.name in self.names:
                self.ready.add(task)
                self.most = max(self.most, len(self.ready))

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.ready.discard(task)

        started = False

    profile = Profile()
    profile.names = {"scanner", "writer", "migrator", "daemon"}

    async def program() -> None:
        spec = resolve("random", 3, points=30)

        def watched(world: Any) -> None:
            busy(world)
            first = world.bodies[:]

            def starts(body: Any) -> Any:
                async def main() -> None:
                    profile.started = True
                    await body()

                return main

            world.bodies[:] = [starts(body) for body in first]

        world = await execute(watched, build(spec), faults=FAULTS)
        assert world.rt.stop_reason == "done"

    trio.run(program, instruments=[profile])
    assert profile.started
    assert profile.most == 1
