# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs explored to the end, by an explorer or by brute force.

Tests: by use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs

from ksmtrio.execution import start
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.cell import Death
from ksmtrio.sched.exploration.base import Explorer
from ksmtrio.sched.footprint import Footprints, Step, dependent
from ksmtrio.sched.hosts import make_host
from ksmtrio.sched.program import ASSERTION, Build, Program
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.strategies.base import Strategy, Unwatching
from ksmtrio.sched.tap import Tap
from tests.exploring import gives_way

Class: TypeAlias = tuple[frozenset[Any], frozenset[Any]]

EXECUTIONS_MAX = 5_000


@attrs.frozen
class Done:
    """What one execution of a program came to.

    Attributes:
        stop: why it ended.
        final: its final state, as text.
        findings: kind and label of each.
        choices: of the schedule.
    """

    stop: str
    final: str
    findings: tuple[tuple[str, str], ...]
    choices: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether it came to its own end."""
        return self.stop in ("done", "hung")


def execute(
    build: Build, strategy: Strategy, tap: Tap | None, host: str = "bare"
) -> tuple[Runtime, Done]:
    """Execute a program once; a failing check ends it."""
    rt = Runtime(strategy, make_host(host), recorder=tap)
    program = Program(rt)
    findings: list[tuple[str, str]] = []

    def listen(kind: str, target: Any, at: str, message: str, other: Death | None) -> None:
        findings.append((kind, at))
        if kind == ASSERTION and not rt.over:
            rt.end(kind)

    rt.listeners.append(listen)
    build(program)
    start(host, program.run)
    final = str(program.dump())
    return rt, Done(rt.stop_reason, final, tuple(findings), tuple(rt.choices.schedule))


def class_of(steps: Sequence[Step]) -> Class:
    """Return the happens-before class of an execution: its events, and which conflicts they had."""
    counts: Counter[int] = Counter()
    names: list[tuple[Any, ...]] = []
    edges = set()
    for number, step in enumerate(steps):
        names.append((step.actor, counts[step.actor], tuple(step.choices)))
        counts[step.actor] += 1
        for before in range(number):
            other = steps[before]
            if other.actor != step.actor and dependent(other.accesses, step.accesses):
                edges.add((names[before], names[number]))
    return frozenset(names), frozenset(edges)


@attrs.define
class Space:
    """All that was seen in an exploration.

    Attributes:
        finals: final states of the executions that came to their own end.
        findings: of all of them.
        classes: of those that came to their own end, in order.
        executions: how many there were.
    """

    finals: set[str] = attrs.field(factory=set)
    findings: set[tuple[str, str]] = attrs.field(factory=set)
    classes: list[Class] = attrs.field(factory=list)
    executions: int = 0

    def add(self, done: Done, steps: Sequence[Step]) -> None:
        """Add an execution."""
        self.executions += 1
        self.findings.update(done.findings)
        if done.whole:
            self.finals.add(done.final)
            self.classes.append(class_of(steps))


def explore(
    build: Build, explorer: Explorer, until: int | None = None, host: str = "bare"
) -> Space:
    """Run an exploration, or the next `until` executions of it."""
    space = Space()
    while until is None or space.executions < until:
        strategy = explorer.next()
        if strategy is None:
            break
        tap = explorer.taps()
        assert isinstance(tap, Footprints)
        rt, done = execute(build, strategy, tap, host)
        redundant = explorer.counts.redundant
        explorer.learn(rt.stop_reason)
        if explorer.counts.redundant == redundant:
            space.add(done, tap.steps)
        else:
            space.executions += 1
    return space


class Path(Unwatching):
    """Follows a list of choices of all streams, then takes the first; notes the widths.

    Attributes:
        preemptions: switches away from an actor that could go on and did not give way.
    """

    def __init__(self, prefix: list[int]) -> None:
        self.taken: list[int] = []
        self.widths: list[int] = []
        self.preemptions = 0
        self._prefix = prefix

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        index = self.choose("schedule", len(enabled))
        if current is not None and current in enabled and not gives_way(current):
            self.preemptions += enabled[index] is not current
        return index

    def choose(self, stream: str, n: int) -> int:
        place = len(self.taken)
        self.widths.append(n)
        self.taken.append(self._prefix[place] if place < len(self._prefix) else 0)
        return self.taken[-1]

    def demote(self, actor: ActorState) -> None:
        """No priorities."""


def brute_force(build: Build, bound: int | None = None) -> Space | None:
    """Run every execution within the bound; None when there are too many."""
    space, todo = Space(), [list[int]()]
    executions = 0
    while todo:
        prefix = todo.pop()
        path, tap = Path(prefix), Footprints()
        _, done = execute(build, path, tap)
        executions += 1
        if executions > EXECUTIONS_MAX:
            return None
        for place in range(len(prefix), len(path.taken)):
            todo += [[*path.taken[:place], c] for c in range(1, path.widths[place])]
        if bound is None or path.preemptions <= bound:
            space.add(done, tap.steps)
    return space
