# SPDX-License-Identifier: GPL-2.0-or-later
"""Executes a list of samples and says their digests; what `doctor` starts in fresh processes.

``python -m ksmtrio.campaign.sample`` reads one JSON document on stdin and prints one on stdout.
Tests: `tests/cli/test_cli_doctor.py`.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import msgspec

from ksmtrio.campaign.sessions import open_session
from ksmtrio.errors import KsmtrioError
from ksmtrio.execution import Plan, execute_subject, probe, record_subject, start
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from ksmtrio.sched.hosts import HOST_DEFAULT
from ksmtrio.sched.strategies import LEARNING, StrategySpec
from ksmtrio.sched.strategies.session import BLOCK
from ksmtrio.subject import KernelSubject, Subject
from ksmtrio.trace.recorder import Recorder


class Sample(msgspec.Struct, frozen=True):
    """One execution, by names: a built-in scenario, the default kernel, a strategy.

    Where the strategy learns, what it learned from is executed again, too.
    """

    scenario: str
    spec: StrategySpec


class SampleDigest(msgspec.Struct, frozen=True):
    """What an execution amounts to."""

    events: str
    machine: str
    points: int


class Request(msgspec.Struct, frozen=True):
    """What to do. `record`: write the full log of the only sample there; `host`: who executes."""

    samples: list[Sample]
    record: str | None = None
    host: str = HOST_DEFAULT


async def digests_of(
    samples: list[Sample], record: Path | None = None, host: str = HOST_DEFAULT
) -> list[SampleDigest]:
    """Execute samples one after the other.

    Raises:
        EmulatorError: a fault of ours.
    """
    kernel = build_kernel()
    found = []
    for sample in samples:
        subject = KernelSubject(load_scenario(sample.scenario), kernel)
        plan = await _plan(subject, sample.spec, host)
        if record is None:
            outcome = await execute_subject(subject, plan, recorder=Recorder(), host=host)
        else:
            outcome = await record_subject(subject, plan, record, made_by=sample.spec, host=host)
        assert outcome.event_digest is not None
        assert outcome.machine_digest is not None
        found.append(SampleDigest(outcome.event_digest, outcome.machine_digest, outcome.points))
    return found


async def _plan(subject: Subject, spec: StrategySpec, host: str) -> Plan:
    if spec.name not in LEARNING:
        return spec
    profile = await probe(subject, host=host)
    session = await open_session(
        subject, spec.name, spec.seed, depth=None, profile=profile, host=host
    )
    return session.strategy(spec.seed % BLOCK)


def main() -> int:
    """Serve one request; return the exit code."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    record = None if request.record is None else Path(request.record)
    try:
        found = start(request.host, partial(digests_of, request.samples, record, request.host))
    except KsmtrioError as error:
        sys.stderr.write(f"{error}\n")
        return 4
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
