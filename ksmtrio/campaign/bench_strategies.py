# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon each strategy finds each known race: executions up to the first finding.

A *trial* is one strategy that looks for one race from seeds of its own, until something is found
that counts, or a limit is reached: then the trial is censored, and shown as such. Trials are
independent; whole ones go to worker processes. What is done is kept in a file as it comes, and not
done again. Learning strategies learn as in a campaign: within a session of `BLOCK` executions.
Tests: `tests/unit/test_campaign_bench_strategies.py`.
"""

from __future__ import annotations

import gc
import os
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
import trio
import trio_parallel  # type: ignore[import-untyped]

from ksmtrio.campaign.depths import Race, load_races
from ksmtrio.campaign.interruption import Interruption
from ksmtrio.campaign.sessions import feedback_of
from ksmtrio.campaign.workers import prepare_worker
from ksmtrio.errors import BadInput
from ksmtrio.execution import probed, run_subject
from ksmtrio.sched.strategies import LEARNING, NO_PROFILE, STRATEGIES
from ksmtrio.sched.strategies.profile import Profile
from ksmtrio.sched.strategies.session import BLOCK, Session
from ksmtrio.subject import Subject, load_subject

TRIALS_DEFAULT: Final = 20
RUNS_DEFAULT: Final = 2_000

CATALOGUE: Final = "catalogue.toml"

_APART: Final = 1 << 20
"""Sessions between the first ones of two trials: no two trials share a seed."""


@attrs.frozen(kw_only=True)
class Target:
    """Something to look for.

    Attributes:
        group: ``switch``, ``defect`` or ``program``.
        depth: as `depths.toml` or the catalogue of programs has it.
        race: what counts in a kernel; None for a program.
        finding: signature without its points that counts in a program; None for a kernel.
        published: figures of others, each with its source.
    """

    name: str
    group: str
    depth: int | None
    subject: Subject
    race: Race | None = None
    finding: str | None = None
    published: tuple[str, ...] = ()

    def counts(self, signature: str) -> bool:
        """Return whether a finding with this signature is what is looked for."""
        if self.race is not None:
            return self.race.counts(signature)
        return signature.partition("@")[0] == self.finding


@attrs.frozen
class Trial:
    """What came of one trial; a line of the file of results.

    Attributes:
        executions: done; with `found`, the last one showed it.
    """

    target: str
    strategy: str
    trial: int
    executions: int
    found: bool


@attrs.frozen(kw_only=True)
class BenchPlan:
    """What to measure.

    Attributes:
        trials: of each strategy on each target.
        runs_max: executions of a trial after which it is censored.
        seconds: time budget; None means none.
        results: file that keeps the trials done; None: they are kept nowhere.
    """

    targets: tuple[Target, ...]
    strategies: tuple[str, ...]
    trials: int = TRIALS_DEFAULT
    runs_max: int = RUNS_DEFAULT
    jobs: int = 1
    seconds: float | None = None
    results: Path | None = None


@attrs.frozen
class Cell:
    """One strategy on one target.

    Attributes:
        executions: of each trial, sorted; of one that found nothing, None, at the end.
        runs_max: after which a trial is censored.
    """

    executions: tuple[int | None, ...]
    runs_max: int

    @property
    def found(self) -> int:
        """Trials that found it."""
        return sum(executions is not None for executions in self.executions)

    def quantile(self, share: float) -> int | None:
        """Return in how many executions this share of the trials found it; None: in more."""
        if not self.executions:
            return None
        return self.executions[max(ceil(share * len(self.executions)), 1) - 1]

    def text(self, share: float) -> str:
        """Return a quantile for people: censored ones as ``>2000 (7/20)``."""
        if not self.executions:
            return "-"
        value = self.quantile(share)
        if value is not None:
            return str(value)
        return f">{self.runs_max} ({self.found}/{len(self.executions)})"

    def to_json(self) -> dict[str, Any]:
        """Return the figures; None means: not within ``runs_max``."""
        return {
            "median": self.quantile(0.5),
            "p90": self.quantile(0.9),
            "found": self.found,
            "trials": len(self.executions),
            "executions": list(self.executions),
        }


@attrs.frozen
class StrategiesReport:
    """What was measured: target -> strategy -> cell."""

    plan: BenchPlan
    cells: dict[str, dict[str, Cell]]

    @property
    def todo(self) -> int:
        """Trials of the plan that were not done."""
        plan = self.plan
        done = sum(len(cell.executions) for row in self.cells.values() for cell in row.values())
        return len(plan.targets) * len(plan.strategies) * plan.trials - done

    def least(self, target: str) -> int | None:
        """Return the smallest median of a target, or None where no strategy has one."""
        medians = [cell.quantile(0.5) for cell in self.cells[target].values()]
        return min((median for median in medians if median is not None), default=None)

    def best(self, target: str) -> tuple[str, ...]:
        """Return the strategies with the smallest median, in order of the plan."""
        least = self.least(target)
        if least is None:
            return ()
        row = self.cells[target]
        return tuple(name for name, cell in row.items() if cell.quantile(0.5) == least)

    def to_json(self) -> dict[str, Any]:
        """Return the report."""
        return {
            "trials": self.plan.trials,
            "runs_max": self.plan.runs_max,
            "todo": self.todo,
            "targets": [
                {
                    "name": target.name,
                    "group": target.group,
                    "depth": target.depth,
                    "subject": target.subject.name,
                    "best": list(self.best(target.name)),
                    "strategies": {
                        name: cell.to_json() for name, cell in self.cells[target.name].items()
                    },
                    "published": list(target.published),
                }
                for target in self.plan.targets
            ],
        }


# -- what to look for ------------------------------------------------------------------------------


class _Published(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    text: str


class _Program(msgspec.Struct):
    program: str
    finding: str | None = None
    depth: int | None = None
    published: list[_Published] = []


class _Catalogue(msgspec.Struct):
    programs: list[_Program] = []
    sources: dict[str, str] = {}


def race_targets() -> list[Target]:
    """Return the races of `depths.toml` that can be found."""
    return [
        Target(
            name=race.name,
            group="switch" if race.switch else "defect",
            depth=race.depth,
            subject=race.subject(),
            race=race,
        )
        for race in load_races()
        if race.depth
    ]


def program_targets(where: Path) -> list[Target]:
    """Return the programs of a catalogue in which there is something to find.

    Args:
        where: a folder with a `CATALOGUE`, whose programs are relative to it, or such a file.

    Raises:
        BadInput: it cannot be read, is malformed, or has none.
    """
    file = where / CATALOGUE if where.is_dir() else where
    try:
        parsed = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), _Catalogue)
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: {error}") from error
    unknown = [
        f.source for p in parsed.programs for f in p.published if f.source not in parsed.sources
    ]
    if unknown:
        raise BadInput(f"{file}: [sources] has no {unknown[0]!r}")
    targets = [
        Target(
            name=entry.program.partition(":")[2],
            group="program",
            depth=entry.depth,
            subject=load_subject(f"{file.parent}/{entry.program}"),
            finding=entry.finding,
            published=tuple(
                f"{figure.text} [{parsed.sources[figure.source]}]" for figure in entry.published
            ),
        )
        for entry in parsed.programs
        if entry.finding is not None
    ]
    if not targets:
        raise BadInput(f"{file}: names no program in which there is something to find")
    return targets


def select(targets: Iterable[Target], only: Sequence[str]) -> tuple[Target, ...]:
    """Return the targets of these names, or all where there are none.

    Raises:
        BadInput: there is no such name.
    """
    by_name = {target.name: target for target in targets}
    unknown = [name for name in only if name not in by_name]
    if unknown:
        raise BadInput(f"nothing is called {unknown[0]!r}; choose one of: {'; '.join(by_name)}")
    return tuple(by_name[name] for name in dict.fromkeys(only or by_name))


def all_strategies() -> tuple[str, ...]:
    """Return the strategies that look for something."""
    return tuple(dict.fromkeys(name for name in (*STRATEGIES, *LEARNING) if name != "replay"))


# -- trials ----------------------------------------------------------------------------------------


def run_trial(target: Target, strategy: str, trial: int, runs_max: int) -> Trial:
    """Look for the target until it is found, or `runs_max` executions are done.

    Raises:
        BadInput: unknown strategy.
        EmulatorError: a fault of ours.
    """
    profile = Profile() if strategy in NO_PROFILE else probed(target.subject)
    session = None
    for number in range(runs_max):
        block, place = divmod(number, BLOCK)
        if session is None or place == 0:
            session = Session(strategy, trial * _APART + block, profile=profile)
        steering = session.strategy(place)
        outcome = run_subject(target.subject, steering, marks=False, host="bare")
        gc.collect(0)
        if any(map(target.counts, outcome.signatures())):
            return Trial(target.name, strategy, trial, number + 1, found=True)
        session.learn(place, steering, feedback_of(outcome))
    return Trial(target.name, strategy, trial, runs_max, found=False)


class _Bench:
    """One benchmark in progress."""

    def __init__(self, plan: BenchPlan, on_trial: Callable[[Trial, int], None] | None) -> None:
        self._plan = plan
        self._on_trial = on_trial
        self._done = _load(plan.results)
        self._left = deque(self._missing())
        self._end = float("inf")
        self._scope = trio.CancelScope()

    def _missing(self) -> Iterator[tuple[Target, str, int]]:
        """Yield what there is to do, trial by trial, so that an early end is fair to all."""
        for trial in range(self._plan.trials):
            for target in self._plan.targets:
                for strategy in self._plan.strategies:
                    if self.of(target, strategy, trial) is None:
                        yield target, strategy, trial

    def of(self, target: Target, strategy: str, trial: int) -> Trial | None:
        """Return a trial that is done, as far as it says something for this limit."""
        done = self._done.get((target.name, strategy, trial))
        limit = self._plan.runs_max
        if done is None or (not done.found and done.executions < limit):
            return None
        return done if done.executions <= limit else attrs.evolve(done, found=False)

    async def run(self, interruption: Interruption | None) -> None:
        """Do what is left, as long as there is time; a signal ends it at once."""
        if interruption is not None:
            token = trio.lowlevel.current_trio_token()

            def listener() -> None:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(self._scope.cancel)

            interruption.tell(listener)
        if self._plan.seconds is not None:
            self._end = trio.current_time() + self._plan.seconds
        limiter = trio.CapacityLimiter(self._plan.jobs)
        async with trio_parallel.open_worker_context(init=prepare_worker) as workers:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(self._plan.jobs):
                        nursery.start_soon(self._work, workers, limiter)

    async def _work(
        self, workers: trio_parallel.WorkerContext, limiter: trio.CapacityLimiter
    ) -> None:
        while self._left and trio.current_time() < self._end:
            job = partial(run_trial, *self._left.popleft(), self._plan.runs_max)
            trial: Trial = await workers.run_sync(job, kill_on_cancel=True, limiter=limiter)
            self._done[trial.target, trial.strategy, trial.trial] = trial
            _append(self._plan.results, trial)
            if self._on_trial is not None:
                self._on_trial(trial, len(self._left))

    def report(self) -> StrategiesReport:
        """Return what is known by now."""
        plan = self._plan
        cells: dict[str, dict[str, Cell]] = {}
        for target in plan.targets:
            cells[target.name] = {}
            for strategy in plan.strategies:
                trials = [self.of(target, strategy, trial) for trial in range(plan.trials)]
                known = [trial for trial in trials if trial is not None]
                found = sorted(trial.executions for trial in known if trial.found)
                censored = [None] * (len(known) - len(found))
                cells[target.name][strategy] = Cell((*found, *censored), plan.runs_max)
        return StrategiesReport(plan, cells)


def bench_strategies(
    plan: BenchPlan,
    on_trial: Callable[[Trial, int], None] | None = None,
    interruption: Interruption | None = None,
) -> StrategiesReport:
    """Measure in an event loop of its own.

    Args:
        plan: what to measure.
        on_trial: told of each trial as it is done, and how many have not begun.
        interruption: ends it early; None: signals are not our business.

    Raises:
        BadInput: an unknown strategy, or the file of results cannot be read or written.
        EmulatorError: a fault of ours.
    """
    for strategy in plan.strategies:
        Session(strategy, 0)
    bench = _Bench(plan, on_trial)
    trio.run(bench.run, interruption)
    return bench.report()


def _load(file: Path | None) -> dict[tuple[str, str, int], Trial]:
    """Return what a file holds; a last line that was cut off is taken off it."""
    if file is None or not file.exists():
        return {}
    try:
        text = file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        trials = [msgspec.json.decode(line, type=Trial) for line in whole.splitlines()]
        if whole != text:
            os.truncate(file, len(whole))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise BadInput(f"{file}: holds no results of bench: {error}") from error
    return {(trial.target, trial.strategy, trial.trial): trial for trial in trials}


def _append(file: Path | None, trial: Trial) -> None:
    if file is None:
        return
    try:
        with file.open("ab") as lines:
            lines.write(msgspec.json.encode(trial) + b"\n")
    except OSError as error:
        raise BadInput(f"{file}: cannot be written: {error.strerror or error}") from error
