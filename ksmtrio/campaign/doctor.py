# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks for hidden non-determinism: re-executes a sample in fresh processes and compares digests.

Each process has another hash seed, may be another Python, and may have another host run the actors
than this one does. Where digests differ, both sides are executed again with a full log, and the
first differing record is shown. Tests: `tests/cli/test_cli_doctor.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
import trio

from ksmtrio.campaign.sample import Request, Sample, SampleDigest, digests_of
from ksmtrio.errors import BadInput, EmulatorError
from ksmtrio.execution import probe
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario, sample_names
from ksmtrio.sched.hosts import HOST_DEFAULT
from ksmtrio.sched.strategies import LEARNING, STRATEGIES, StrategySpec, resolve
from ksmtrio.subject import KernelSubject
from ksmtrio.trace.diff import Difference, first_difference
from ksmtrio.trace.format import Header, Record
from ksmtrio.trace.reader import read_records

HASH_SEEDS: Final = ("1", "4242")
"""PYTHONHASHSEED of the processes that re-execute the sample."""

LEARNED: Final = 7
"""Executions that a strategy which learns has behind it, in the one sample that it gets."""

_CHILD_SECONDS_MAX: Final = 600


@attrs.frozen
class Disagreement:
    """A sample whose digests differ between processes.

    Attributes:
        sample: the execution.
        python: executable of the process that disagrees with this one.
        hash_seed: its PYTHONHASHSEED.
        difference: the first differing record; None when only the final machine differs or a
            second execution agreed.
    """

    sample: Sample
    python: str
    hash_seed: str
    difference: Difference | None

    def to_json(self) -> dict[str, Any]:
        """Return it for a report."""
        spec = msgspec.to_builtins(self.sample.spec)
        return {
            "scenario": self.sample.scenario,
            "strategy": spec.pop("name"),
            **spec,
            "python": self.python,
            "hash_seed": self.hash_seed,
            "first_difference": None if self.difference is None else self.difference.to_json(),
        }


@attrs.frozen
class DoctorReport:
    """What the doctor saw.

    Attributes:
        samples: executions that were compared, each in every process.
        processes: executable and hash seed of each fresh process.
        disagreements: empty when everything is deterministic.
    """

    samples: int
    processes: tuple[tuple[str, str], ...]
    disagreements: tuple[Disagreement, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report."""
        return {
            "same": not self.disagreements,
            "samples": self.samples,
            "processes": [{"python": p, "hash_seed": s} for p, s in self.processes],
            "disagreements": [d.to_json() for d in self.disagreements],
        }


def doctor(
    *,
    scenarios: tuple[str, ...] = (),
    pythons: tuple[str, ...] = (),
    seeds: int = 2,
    host: str = HOST_DEFAULT,
    on_progress: Callable[[str], None] | None = None,
) -> DoctorReport:
    """Compare executions here with executions in fresh processes.

    Args:
        scenarios: built-in names; none means all races and a sample of the pairs.
        pythons: further Python executables, with ksmtrio's dependencies installed.
        seeds: seeds of each scenario and strategy; one that learns gets one, in any case.
        host: what runs the actors in the fresh processes; here it is the default one.
        on_progress: told in words what is being done.

    Raises:
        BadInput: unknown scenario, or a Python that cannot run ksmtrio.
        EmulatorError: nothing was executed, or a fault of ours.
    """
    say = on_progress or (lambda _: None)
    samples = trio.run(_make_samples, scenarios or tuple(sample_names()), seeds)
    if not samples:
        raise EmulatorError("the doctor found no scenario to execute")
    say(f"executing {len(samples)} samples here")
    here = trio.run(digests_of, samples)
    processes = [(p, s) for p in (sys.executable, *pythons) for s in HASH_SEEDS]
    disagreements: list[Disagreement] = []
    for python, hash_seed in processes:
        say(f"executing them in {python}, PYTHONHASHSEED={hash_seed}")
        there = _in_fresh_process(python, hash_seed, Request(samples, host=host))
        for sample, mine, yours in zip(samples, here, there, strict=True):
            if mine != yours:
                difference = _first_difference(sample, python, hash_seed, host)
                disagreements.append(Disagreement(sample, python, hash_seed, difference))
    return DoctorReport(len(samples), tuple(processes), tuple(disagreements))


async def _make_samples(scenarios: tuple[str, ...], seeds: int) -> list[Sample]:
    names = [name for name in STRATEGIES if name != "replay"]
    kernel = build_kernel()
    samples: list[Sample] = []
    for name in scenarios:
        profile = await probe(KernelSubject(load_scenario(name), kernel))
        samples += [
            Sample(name, resolve(strategy, seed, profile=profile))
            for strategy in names
            for seed in range(seeds)
        ]
        samples += [Sample(name, StrategySpec(strategy, LEARNED)) for strategy in LEARNING]
    return samples


def import_path(root: Path) -> str:
    """Return the PYTHONPATH of a fresh process.

    A checkout is put in front, so that every Python runs the same code. A folder of installed
    packages is not: its compiled parts are of one Python, and another has its own.

    Args:
        root: the folder that holds the package `ksmtrio`.
    """
    given = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    own = [str(root)] if (root / "pyproject.toml").is_file() else []
    return os.pathsep.join([*own, *given])


def _in_fresh_process(python: str, hash_seed: str, request: Request) -> list[SampleDigest]:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": import_path(Path(__file__).resolve().parents[2]),
    }
    try:
        done = subprocess.run(  # noqa: S603 - the user names the Python to start
            [python, "-m", "ksmtrio.campaign.sample"],
            input=msgspec.json.encode(request),
            capture_output=True,
            env=environment,
            timeout=_CHILD_SECONDS_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInput(f"{python}: cannot run ksmtrio: {error}") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise BadInput(f"{python}: cannot run ksmtrio (is it installed there?): {lines[-1]}")
    return msgspec.json.decode(done.stdout, type=list[SampleDigest])


def _first_difference(sample: Sample, python: str, hash_seed: str, host: str) -> Difference | None:
    with tempfile.TemporaryDirectory(prefix="ksmtrio-doctor-") as directory:
        mine, yours = Path(directory, "here.jsonl"), Path(directory, "there.jsonl")
        trio.run(digests_of, [sample], mine)
        _in_fresh_process(python, hash_seed, Request([sample], str(yours), host))
        return first_difference(_body(mine), _body(yours))


def _body(path: Path) -> Iterator[tuple[int, Record]]:
    for number, record in read_records(path):
        if not isinstance(record, Header):
            yield number, record
