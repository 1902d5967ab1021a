# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks: named rare situations, and which of them an execution reached.

A mark is a small state machine over the labels of schedule points; it tells a test or a report that
the window of a race was entered. A race test that never enters the window proves nothing. Marks
are never read by oracles and never change the machine; they run in stress mode, so they are cheap:
only labels that some mark names cost anything, and a mark that was reached is not asked again. The
definitions are in `race_marks.py`. Tests: `tests/unit/test_trace_marks.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from ksmtrio.machine import Machine
    from ksmtrio.sched.actor_state import ActorState


class Mark:
    """Base of the marks; made anew for each execution.

    Attributes:
        name: e.g. ``mapping_changed_in_get_ksm_page``.
        description: one line.
        labels: schedule points that the mark wants to be told of.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    labels: ClassVar[tuple[str, ...]]

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Take notice of the operation that `actor` is about to do at `label`.

        Returns:
            Whether the mark is reached now.
        """
        raise NotImplementedError


class _Watch:
    """One mark in one execution."""

    __slots__ = ("machine", "mark", "reached")

    def __init__(self, mark: Mark, machine: Machine) -> None:
        self.mark = mark
        self.machine = machine
        self.reached = False

    def __call__(self, actor: ActorState, label: str) -> None:
        if not self.reached and self.mark.step(actor, label, self.machine):
            self.reached = True


class MarkTracker:
    """The marks of one execution.

    Args:
        marks: classes of the marks to look for, in the order in which they are reported.
    """

    def __init__(self, marks: Iterable[type[Mark]]) -> None:
        self._classes = tuple(marks)
        self._watches: list[_Watch] = []

    def attach(self, machine: Machine) -> None:
        """Listen to the labels of the marks; once, before the machine runs."""
        assert not self._watches, "a tracker serves one execution"
        told = machine.rt.marks
        for make in self._classes:
            watch = _Watch(make(), machine)
            self._watches.append(watch)
            for label in make.labels:
                told.setdefault(label, []).append(watch)

    def reached(self) -> tuple[str, ...]:
        """Return the names of the marks reached so far."""
        return tuple(watch.mark.name for watch in self._watches if watch.reached)
