# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs of `programs/catalogue.toml`, for tests; and a plain search of their executions.

`every_execution` is the plain search that stands beside the clever ones: it takes each choice, of
schedule and of data, in each way there is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs

from ksmtrio.execution import Outcome, run_subject
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.program import Build
from ksmtrio.sched.strategies.base import Unwatching
from ksmtrio.sched.tap import Tap
from ksmtrio.subject import ProgramSubject, load_subject

PROGRAMS: Final = Path(__file__).parent / "programs"


@attrs.frozen
class Entry:
    """One instance, as the catalogue describes it; see the head of the file."""

    program: str
    finding: str | None = None
    depth: int | None = None
    also: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    executions: int | None = None
    source_sets: int | None = None
    published: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Name of the instance alone."""
        return self.program.partition(":")[2]

    def subject(self) -> ProgramSubject:
        """Return the program."""
        return load_subject(f"{PROGRAMS}/{self.program}")


@attrs.frozen
class Inline(ProgramSubject):
    """A program that stands in no file."""

    built: Build = attrs.field(kw_only=True)

    def build(self) -> Build:
        """Return it."""
        return self.built


def inline(build: Build) -> Inline:
    """Return a program for a test's own build function."""
    return Inline("inline.py", "inline", "", built=build)


@cache
def catalogue() -> dict[str, Entry]:
    """Return all entries by name of the instance."""
    rows = tomllib.loads((PROGRAMS / "catalogue.toml").read_text(encoding="utf-8"))["programs"]
    entries = [Entry(**row) for row in rows]
    return {entry.name: entry for entry in entries}


class _Prefix(Unwatching):
    """Takes given choices of both kinds, then the first alternative; notes what there was.

    After `preemptions` times that an actor was held up that could go on, it is not done any more.
    """

    def __init__(self, prefix: Sequence[int], preemptions: int | None) -> None:
        self._prefix = prefix
        self._left = preemptions
        self.taken: list[int] = []
        self.alternatives: list[int] = []

    def _take(self, n: int) -> int:
        place = len(self.taken)
        index = self._prefix[place] if place < len(self._prefix) else 0
        self.taken.append(index)
        self.alternatives.append(n)
        return index

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Take an actor."""
        if self._left is None or current not in enabled:
            return self._take(len(enabled))
        stay = enabled.index(current)
        if self._left == 0:
            return stay
        index = self._take(len(enabled))
        self._left -= index != stay
        return index

    def choose(self, stream: str, n: int) -> int:
        """Take a data or fault choice."""
        return self._take(n)

    def demote(self, actor: ActorState) -> None:
        """No priorities here."""


@attrs.frozen
class Searched:
    """What a search of many executions saw.

    Attributes:
        executions: how many.
        whole: there are no further ones.
        finals: digests of final states.
        signatures: of findings.
    """

    executions: int
    whole: bool
    finals: frozenset[str]
    signatures: frozenset[str]


def search(subject: ProgramSubject, *, at_most: int, preemptions: int | None = None) -> Searched:
    """Take every choice in every way, depth first, up to bounds of executions and preemptions."""
    finals: set[str] = set()
    signatures: set[str] = set()
    executions = 0
    for outcome in every_execution(subject, at_most=at_most, preemptions=preemptions):
        executions += 1
        assert outcome.machine_digest is not None
        finals.add(outcome.machine_digest)
        signatures.update(outcome.signatures())
    return Searched(executions, executions < at_most, frozenset(finals), frozenset(signatures))


def every_execution(
    subject: ProgramSubject,
    *,
    at_most: int,
    preemptions: int | None = None,
    host: str = "bare",
    recorder: Callable[[], Tap | None] = lambda: None,
) -> Iterator[Outcome]:
    """Yield the outcome of each execution in turn; `recorder` makes a tap for each."""
    prefix: list[int] | None = []
    for _ in range(at_most):
        strategy = _Prefix(prefix, preemptions)
        yield run_subject(subject, strategy, recorder=recorder(), final=True, host=host)
        prefix = _next(strategy)
        if prefix is None:
            return


def _next(strategy: _Prefix) -> list[int] | None:
    """Return the choices of the next execution in depth-first order."""
    taken, alternatives = strategy.taken, strategy.alternatives
    for place in reversed(range(len(taken))):
        if taken[place] + 1 < alternatives[place]:
            return [*taken[:place], taken[place] + 1]
    return None
