# SPDX-License-Identifier: GPL-2.0-or-later
"""What a schedule point and an execution cost here, beside what trio itself costs in the same run.

The yardstick is a loop of four trio tasks that do nothing but `trio.lowlevel.checkpoint`: figures
of different machines compare by their ratio to it. Every load is measured in several slices, in
turn with the others; the best slice counts, being the least disturbed one. Tests:
`tests/cli/test_cli_bench.py`.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import attrs
import trio

from ksmtrio.execution import execute, probed, start
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from ksmtrio.sched.hosts import HOSTS, make_host
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.strategies import NO_PROFILE, STRATEGIES, resolve
from ksmtrio.sched.strategies.base import Strategy, Unwatching
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.random import RandomStrategy
from ksmtrio.subject import KernelSubject

SECONDS_DEFAULT: Final = 20.0
"""Time budget when none was given."""

SCENARIO: Final = "offline_vs_ksmd"
"""What the executions are of."""

YARDSTICK: Final = "trio.lowlevel.checkpoint, 4 tasks"

_SLICES: Final = 4
_TASKS: Final = 4
_BATCH: Final = 2_000
"""Checkpoints of a task, and points of an actor, between two looks at the clock."""


@attrs.frozen
class Done:
    """What was done in a slice, and how long it took."""

    points: int
    executions: int
    seconds: float


Clock = Callable[[], float]
"""Tells the time in seconds; `time.perf_counter`, say."""

Load = Callable[[float], Done]
"""Something to measure: works for at least so many seconds."""


@attrs.frozen
class Row:
    """One line of the report.

    Attributes:
        points_per_s: schedule points a second.
        executions_per_s: executions a second; None where there is but one that does not end.
        ratio: points a second in units of the yardstick.
    """

    name: str
    points_per_s: float
    executions_per_s: float | None
    ratio: float

    def to_json(self) -> dict[str, Any]:
        """Return the line; the keys are promised."""
        rate = self.executions_per_s
        return {
            "name": self.name,
            "points_per_s": round(self.points_per_s, 1),
            "executions_per_s": None if rate is None else round(rate, 1),
            "ratio": round(self.ratio, 3),
        }


@attrs.frozen
class BenchReport:
    """What was measured.

    Attributes:
        yardstick: checkpoints a second of a bare trio loop.
    """

    yardstick: float
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report; the keys are promised."""
        return {
            "yardstick": {"name": YARDSTICK, "per_s": round(self.yardstick, 1)},
            "rows": [row.to_json() for row in self.rows],
        }


def bench(
    clock: Clock,
    *,
    seconds: float = SECONDS_DEFAULT,
    on_progress: Callable[[str], None] | None = None,
) -> BenchReport:
    """Measure the yardstick, the empty loop on each host, and executions by each strategy.

    Args:
        clock: what to measure with.
        seconds: time budget of all together.
        on_progress: told in words what is being done.
    """
    say = on_progress or (lambda _: None)
    say(f"getting to know {SCENARIO}")
    loads = _loads(clock)
    slice_s = seconds / (_SLICES * (1 + len(loads)))
    checkpoints = 0.0
    best: dict[str, Done] = {}
    with _no_collection():
        for number in range(_SLICES):
            say(f"slice {number + 1} of {_SLICES}")
            checkpoints = max(checkpoints, trio.run(_checkpoints, clock, slice_s))
            for name, load in loads.items():
                done = load(slice_s)
                kept = best.get(name)
                if kept is None or _rate(done) > _rate(kept):
                    best[name] = done
    rows = [_row(name, done, checkpoints) for name, done in best.items()]
    return BenchReport(checkpoints, tuple(rows))


def _rate(done: Done) -> float:
    return done.points / done.seconds


def _row(name: str, done: Done, checkpoints: float) -> Row:
    executions = done.executions / done.seconds if done.executions else None
    return Row(name, _rate(done), executions, _rate(done) / checkpoints)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage between executions only, as worker processes do."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _loads(clock: Clock) -> dict[str, Load]:
    loads: dict[str, Load] = {}
    for host in HOSTS:
        loads[f"two empty tasks, at random, host {host}"] = partial(
            _empty_loop, clock, host, partial(RandomStrategy, 1)
        )
        loads[f"two empty tasks, by turns, host {host}"] = partial(
            _empty_loop, clock, host, _Alternate
        )
    subject = KernelSubject(load_scenario(SCENARIO), build_kernel())
    for strategy in STRATEGIES:
        if strategy != "replay":
            profile = Profile() if strategy in NO_PROFILE else probed(subject)
            for host in HOSTS:
                loads[f"{SCENARIO}, {strategy}, host {host}"] = partial(
                    _executions, clock, subject, strategy, profile, host
                )
    return loads


# -- loads -----------------------------------------------------------------------------------------


async def _checkpoints(clock: Clock, seconds: float) -> float:
    """Return how many checkpoints a second a bare trio loop does."""
    done = 0
    begun = clock()

    async def task() -> None:
        nonlocal done
        while clock() - begun < seconds:
            for _ in range(_BATCH):
                await trio.lowlevel.checkpoint()
            done += _BATCH

    async with trio.open_nursery() as nursery:
        for _ in range(_TASKS):
            nursery.start_soon(task)
    return done / (clock() - begun)


class _Alternate(Unwatching):
    """Two actors switch at every point."""

    def pick(self, enabled: object, current: Any) -> int:
        """Return the other one."""
        del enabled
        return 0 if current is None else 1 - int(current.index)

    def choose(self, stream: str, n: int) -> int:
        """Return the ordinary outcome."""
        del stream, n
        return 0

    def demote(self, actor: object) -> None:
        """There are no priorities."""


def _empty_loop(clock: Clock, host: str, strategy: Callable[[], Strategy], seconds: float) -> Done:
    """Have two actors pass points and do nothing else."""
    rt = Runtime(strategy(), make_host(host), points_max=1 << 62)
    until = clock() + seconds

    async def body() -> None:
        while clock() < until:
            for _ in range(_BATCH):
                await rt.cond_resched("bench.1")

    bodies: list[Callable[[], Awaitable[None]]] = [body, body]
    for name in ("one", "two"):
        rt.add_actor(name, cpu=0)
    begun = clock()
    start(host, partial(rt.run, bodies))
    return Done(rt.points, 0, clock() - begun)


def _executions(
    clock: Clock,
    subject: KernelSubject,
    strategy: str,
    profile: Profile,
    host: str,
    seconds: float,
) -> Done:
    """Execute one seed after the other, as a worker process does."""

    async def main() -> Done:
        begun = clock()
        points = seed = 0
        while (now := clock() - begun) < seconds or seed == 0:
            spec = resolve(strategy, seed, profile=profile)
            outcome = await execute(subject.scenario, subject.kernel, spec, host=host)
            gc.collect(0)
            points += outcome.points
            seed += 1
        return Done(points, seed, now)

    return start(host, main)
