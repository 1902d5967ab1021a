# SPDX-License-Identifier: GPL-2.0-or-later
"""A given interleaving: a few lines that say which actor runs, and how far, one after the other.

The lines are what people draw in patch mails, turned by 90 degrees. They are followed as far as
they go; where they do not, the first difference is kept: the line, what it expected, where its
actor is instead, and who could run. What comes after the last line, or after a difference, is the
default: who runs goes on, or else the first that can. The format is on the manual's page
*interleavings*. Tests: `tests/unit/test_interleave.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from ksmtrio.errors import BadInput
from ksmtrio.sched.actor_state import ActorState, State

LINES_MAX: Final = 10_000
"""Most lines of an interleaving."""

_COMMENT: Final = re.compile(r"(^|\s)#.*")
_LINE: Final = re.compile(r"(?P<actor>[^\s:]+)\s*:\s*(?P<way>.*)")
_WAY: Final = re.compile(
    r"((?P<first>\S+)\s+)?(?P<dots>\.\.)(\s+(?P<before>before\s+)?(?P<last>\S+))?"
    r"|(?P<only_before>before\s+)?(?P<only>\S+)"
)
_FORMS: Final = "'actor: LABEL', 'actor: A .. B', 'actor: .. B', 'actor: A ..' or 'actor: ..'"


@attrs.frozen
class Waypoint:
    """A step that an actor is to have carried out, or (`before`) to be about to carry out."""

    label: str
    before: bool = False

    def matches(self, at: str) -> bool:
        """Return whether a point belongs to the step: itself, its helpers, further operations."""
        return at == self.label or at.startswith((f"{self.label}/", f"{self.label}#"))


@attrs.frozen
class Line:
    """One line.

    Attributes:
        number: in the file, from 1.
        actor: who runs.
        waypoints: passed one after the other.
        to_end: and then on until the actor ends, blocks or sleeps.
        text: as written, without its comment.
    """

    number: int
    actor: str
    waypoints: tuple[Waypoint, ...]
    to_end: bool
    text: str


@attrs.frozen
class Divergence:
    """Where an execution left the lines.

    Attributes:
        line: number of the line in the file.
        text: the line.
        expected: what was to happen.
        instead: where the actor of the line is.
        enabled: who could run, and what each was about to do.
    """

    line: int
    text: str
    expected: str
    instead: str
    enabled: tuple[str, ...]


@attrs.frozen
class Followed:
    """How far an execution followed the lines.

    Attributes:
        lines: how many there are.
        done: how many were followed to their end.
        divergence: what came instead of the next; None: there is no next, or the execution had
            its end before it.
        last: number of the line that the execution ended in, None when it left or did them all.
    """

    lines: int
    done: int
    divergence: Divergence | None
    last: int | None

    def to_json(self) -> dict[str, Any]:
        """Return it for a report."""
        return attrs.asdict(self)


def parse_interleaving(
    text: str, source: str, *, actors: Sequence[str], labels: Iterable[str] | None = None
) -> tuple[Line, ...]:
    """Return the lines of an interleaving.

    Args:
        text: of the file.
        source: its name, for errors.
        actors: names that a line may begin with.
        labels: of all points there are; None: any label will do.

    Raises:
        BadInput: a line has another form, names an actor or a label that there is not, or there
            are no lines, or too many.
    """
    known = None if labels is None else _steps_of(labels)
    lines: list[Line] = []
    for number, written in enumerate(text.splitlines(), start=1):
        stripped = _COMMENT.sub("", written).strip()
        if not stripped:
            continue
        if len(lines) == LINES_MAX:
            raise BadInput(f"{source}:{number}: more than {LINES_MAX} lines")
        line = _parse_line(stripped, f"{source}:{number}", number)
        if line.actor not in actors:
            raise BadInput(
                f"{source}:{number}: unknown actor {line.actor!r}; there are: {', '.join(actors)}"
            )
        for waypoint in line.waypoints:
            if known is not None and waypoint.label not in known:
                raise BadInput(
                    f"{source}:{number}: unknown label {waypoint.label!r}; "
                    "`ksmtrio list points` lists them"
                )
        lines.append(line)
    if not lines:
        raise BadInput(f"{source}: no lines to follow; a line is {_FORMS}")
    return tuple(lines)


def _parse_line(stripped: str, where: str, number: int) -> Line:
    match = _LINE.fullmatch(stripped)
    way = _WAY.fullmatch(match["way"]) if match else None
    if match is None or way is None:
        raise BadInput(f"{where}: {stripped!r} is no line of an interleaving; use {_FORMS}")
    if way["dots"]:
        last = Waypoint(way["last"], before=bool(way["before"])) if way["last"] else None
        first = Waypoint(way["first"]) if way["first"] else None
    else:
        first, last = None, Waypoint(way["only"], before=bool(way["only_before"]))
    waypoints = tuple(waypoint for waypoint in (first, last) if waypoint is not None)
    return Line(number, match["actor"], waypoints, to_end=last is None, text=stripped)


def _steps_of(labels: Iterable[str]) -> set[str]:
    """Return the labels and, of those with a helper or a number behind, the steps themselves."""
    known = set()
    for label in labels:
        known.add(label)
        known.update(label[: cut.start()] for cut in re.finditer("[/#]", label))
    return known


class Interleave:
    """Follows the lines of an interleaving; all data and fault choices are the ordinary ones."""

    watches = True

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._at_line = 0
        self._at_waypoint = 0
        self._entered = False
        self._ran = False
        self._divergence: Divergence | None = None
        self._actors: dict[str, ActorState] = {}
        self._enabled: Sequence[ActorState] = ()

    def followed(self) -> Followed:
        """Return how far the execution, which is over, followed the lines."""
        line = self._line()
        return Followed(
            lines=len(self._lines),
            done=self._at_line,
            divergence=self._divergence,
            last=None if line is None else line.number,
        )

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the actor of the line, if it can run."""
        self._enabled = enabled
        self._actors.update((actor.name, actor) for actor in enabled)
        line = self._line()
        if line is not None:
            for index, actor in enumerate(enabled):
                if actor.name == line.actor:
                    return index
            self._diverge(line)
        return enabled.index(current) if current in enabled else 0

    def choose(self, stream: str, n: int) -> int:
        """Return the ordinary outcome."""
        return 0

    def demote(self, actor: ActorState) -> None:
        """The lines say who runs."""

    def step(self, actor: ActorState) -> None:
        """Note what the actor of the line carries out; nobody else should, but starts are free."""
        if actor.op == "start":
            self._actors[actor.name] = actor
            return
        line = self._line()
        if line is None or actor.name not in self._actors:
            return
        if actor.name != line.actor:
            self._diverge(line)
            return
        self._ran = True
        if self._at_waypoint < len(line.waypoints):
            waypoint = line.waypoints[self._at_waypoint]
            self._entered |= not waypoint.before and waypoint.matches(actor.at)

    def _line(self) -> Line | None:
        """Return the line to follow now, past those that are done; None: it is over with them."""
        while self._divergence is None and self._at_line < len(self._lines):
            line = self._lines[self._at_line]
            actor = self._actors.get(line.actor)
            if actor is None or not self._is_done(line, actor):
                return line
            self._at_line += 1
            self._at_waypoint = 0
            self._entered = self._ran = False
        return None

    def _is_done(self, line: Line, actor: ActorState) -> bool:
        while self._at_waypoint < len(line.waypoints):
            if not self._is_past(line, line.waypoints[self._at_waypoint], actor):
                return False
            self._at_waypoint += 1
            self._entered = False
        return not line.to_end or (self._ran and actor.state is not State.RUNNABLE)

    def _is_past(self, line: Line, waypoint: Waypoint, actor: ActorState) -> bool:
        """Return whether the actor has left the step, or is right before it.

        An announced operation has not been carried out. One that is announced anew under the very
        label of the waypoint is another round of a loop; under that of a helper, still the step.
        """
        inside = waypoint.matches(actor.at)
        if waypoint.before:
            return inside and actor.op not in {"start", "resume"}
        if not self._entered:
            return False
        if actor.state is State.FINISHED or (line.to_end and actor.state is not State.RUNNABLE):
            return True
        return actor.op != "resume" and (not inside or actor.at == waypoint.label)

    def _diverge(self, line: Line) -> None:
        actor = self._actors.get(line.actor)
        self._divergence = Divergence(
            line=line.number,
            text=line.text,
            expected=self._expected(line),
            instead=f"{line.actor} has not begun" if actor is None else _whereabouts(actor),
            enabled=tuple(f"{one.name} at {one.at}" for one in self._enabled),
        )

    def _expected(self, line: Line) -> str:
        if self._at_waypoint == len(line.waypoints):
            return f"{line.actor} runs"
        waypoint = line.waypoints[self._at_waypoint]
        verb = "gets to" if waypoint.before else "carries out"
        return f"{line.actor} {verb} {waypoint.label}"


def _whereabouts(actor: ActorState) -> str:
    """Return where an actor is, in words."""
    if actor.state is State.FINISHED:
        return f"{actor.name} has ended, after {actor.at}"
    if actor.state is State.UNBORN:
        return f"{actor.name} has not begun"
    if actor.state is not State.BLOCKED:
        return f"{actor.name} is about to do {actor.at}"
    lock = actor.waiting_on
    holders = lock.holders() if hasattr(lock, "holders") else ()
    by = f", held by {', '.join(holder.name for holder in holders)}" if holders else ""
    return f"{actor.name} waits at {actor.at} for {lock.name}{by}"
