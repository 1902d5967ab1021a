# SPDX-License-Identifier: GPL-2.0-or-later
"""Findings as a report shows them: each signature once, with its trace and the command for it.

Owns how a finding's trace is made (by re-execution of its choices, which also checks that the
finding comes back) and how the file is named. Tests: `tests/unit/test_campaign_findings.py`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import attrs

from ksmtrio.campaign.known import KnownIssue
from ksmtrio.errors import BadInput, EmulatorError
from ksmtrio.execution import record_subject
from ksmtrio.oracles.base import Finding
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.subject import ProgramSubject, Subject

TRACES_DEFAULT: Final = ".ksmtrio"
"""Directory for traces that were found, relative to the working directory."""

_SIGNATURE_CHARS_MAX: Final = 96
_SAME_NAME_MAX: Final = 10_000


@attrs.frozen
class Sighting:
    """A finding and the execution that showed it. Plain data, so that workers can return it."""

    finding: Finding
    spec: StrategySpec
    choices: Choices


@attrs.define(eq=False)
class DistinctFinding:
    """All sightings of one signature in a campaign.

    Attributes:
        sighting: the one with the lowest number of execution.
        subject: what was executed there.
        first_execution: its number, from 1, counted seed by seed over all scenarios, so that it
            does not depend on which worker was faster.
        count: executions that showed the signature.
        by_scenario: the same, scenario by scenario.
        known: the entry of `known_issues.toml` that it matches, or None: it is new.
        trace: file with the full log of `sighting`, once it is written.
    """

    sighting: Sighting
    subject: Subject
    first_execution: int
    count: int = 0
    by_scenario: Counter[str] = attrs.field(factory=Counter)
    known: KnownIssue | None = None
    trace: Path | None = None

    @property
    def command(self) -> str:
        """The command that shows the finding again."""
        return "" if self.trace is None else shlex.join(["ksmtrio", "replay", str(self.trace)])

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a report shows it; the keys are promised."""
        finding = self.sighting.finding
        return {
            "signature": finding.signature,
            "oracle": finding.oracle,
            "kind": finding.kind,
            "point": finding.point,
            "known": self.known is not None,
            "count": self.count,
            "first_execution": self.first_execution,
            "trace": None if self.trace is None else str(self.trace),
            "command": self.command,
            "other": finding.other,
            "message": finding.message,
            "actors": list(finding.actors),
            "corrupting": finding.corrupting,
            "step": finding.step,
            "scenario": self.subject.name,
            "seed": self.sighting.spec.seed,
            "strategy": self.sighting.spec.name,
            "scenarios": dict(sorted(self.by_scenario.items())),
            "explanation": None if self.known is None else self.known.explanation,
            "fix": None if self.known is None else self.known.fix,
        }


@attrs.frozen
class SavedTrace:
    """A file with the full log of a sighting.

    Attributes:
        path: the file.
        created: it was not there before.
    """

    path: Path
    created: bool


async def save_trace(subject: Subject, sighting: Sighting, directory: Path) -> SavedTrace:
    """Re-execute the choices of a sighting with a recorder; write the full log.

    Raises:
        EmulatorError: the finding did not come back: something is not deterministic.
        BadInput: the file cannot be written.
    """
    signature = sighting.finding.signature
    stem = _stem(subject, sighting)
    partial = directory / f".{stem}.part.jsonl.gz"
    try:
        outcome = await record_subject(
            subject, sighting.choices, partial, made_by=sighting.spec, shown=directory
        )
        if signature not in outcome.signatures():
            raise EmulatorError(
                f"{subject.name}, seed {sighting.spec.seed}: {signature} did not come back when "
                "its choices were executed again"
            )
        return _settle(partial, stem)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def rename_traces(findings: Sequence[DistinctFinding]) -> None:
    """Name the traces of a campaign as if they had been saved now, in this order.

    Raises:
        BadInput: no name is left.
        OSError: a file is gone, or cannot be renamed.
    """
    hidden: dict[Path, Path] = {}
    for found in findings:
        assert found.trace is not None
        if found.trace not in hidden:
            hidden[found.trace] = found.trace.rename(found.trace.with_name(f".{found.trace.name}"))
    settled: dict[Path, Path] = {}
    for found in findings:
        assert found.trace is not None
        partial = hidden[found.trace]
        if partial not in settled:
            settled[partial] = _settle(partial, _stem(found.subject, found.sighting)).path
        found.trace = settled[partial]


def _stem(subject: Subject, sighting: Sighting) -> str:
    """Return what the name of a trace begins with: who was executed, and what was found."""
    name = subject.instance if isinstance(subject, ProgramSubject) else subject.name
    return f"{safe_name(name)}-{safe_name(sighting.finding.signature)}"


def _settle(partial: Path, stem: str) -> SavedTrace:
    """Give a finished trace its name: a new number, unless the very same file is there already."""
    content = partial.read_bytes()
    for number in range(1, _SAME_NAME_MAX):
        path = partial.with_name(f"{stem}-{number}.jsonl.gz")
        if not path.exists():
            partial.rename(path)
            return SavedTrace(path, created=True)
        if path.read_bytes() == content:
            partial.unlink()
            return SavedTrace(path, created=False)
    raise BadInput(f"{partial.parent}: holds {_SAME_NAME_MAX} traces of one finding; clear it out")


def safe_name(text: str) -> str:
    """Return `text` as part of a file name; long ones keep their uniqueness by a digest."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in text)
    safe = "-".join(part for part in safe.split("-") if part.strip(".")) or "unnamed"
    if len(safe) <= _SIGNATURE_CHARS_MAX:
        return safe
    return f"{safe[:_SIGNATURE_CHARS_MAX]}-{blake2b(text.encode(), digest_size=4).hexdigest()}"
