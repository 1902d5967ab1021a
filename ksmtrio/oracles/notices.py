# SPDX-License-Identifier: GPL-2.0-or-later
"""Base of the oracles that put into words what the machine itself complains about.

Tests: with each oracle built on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from ksmtrio.sched.actor_state import State
from ksmtrio.sched.cell import Death

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksmtrio.machine import Machine
    from ksmtrio.mm.mm_types import Watchers
    from ksmtrio.oracles.base import Findings
    from ksmtrio.sched.runtime import Runtime


@attrs.frozen
class Heard:
    """One notice of the machine, as in `ksmtrio.sched.runtime.Notice`."""

    kind: str
    target: Any
    at: str
    message: str
    other: Death | None


class NoticeOracle:
    """Turns notices of certain kinds into findings.

    Attributes:
        kinds: word of the notice, which is the finding's kind too -> does it end the execution.
    """

    name = ""
    description = ""
    kinds: ClassVar[Mapping[str, bool]] = {}

    rt: Runtime
    findings: Findings

    def watchers(self) -> Watchers:
        """No cells: the machine tells."""
        return {}

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Listen from now on."""
        self.listen(machine.rt, findings)

    def listen(self, rt: Runtime, findings: Findings) -> None:
        """Listen to a runtime, whatever runs in it."""
        self.rt = rt
        self.findings = findings
        rt.listeners.append(self._hear)

    def quiescent(self) -> None:
        """Nothing to judge at rest."""

    def _hear(self, kind: str, target: Any, at: str, message: str, other: Death | None) -> None:
        corrupting = self.kinds.get(kind)
        if corrupting is not None:
            heard = Heard(kind, target, at, message, other)
            self.findings.report(
                self.name,
                kind,
                self.place(heard),
                self.text(heard),
                other=self.conflict(heard),
                actors=self.involved(heard),
                corrupting=corrupting,
            )

    def place(self, heard: Heard) -> str:
        """Return the point for the signature."""
        return heard.at

    def text(self, heard: Heard) -> str:
        """Return the finding's one line, in the kernel's manner."""
        return heard.message

    def conflict(self, heard: Heard) -> Death | None:
        """Return the conflicting access."""
        return heard.other

    def involved(self, heard: Heard) -> tuple[str, ...]:
        """Return the names of further actors involved."""
        return ()


def stuck_actors(rt: Runtime) -> tuple[str, ...]:
    """Return the names of the actors that wait for something other than work."""
    return tuple(a.name for a in rt.actors if a.state is State.BLOCKED and not a.idle)


def lock_taken(target: Any) -> Death | None:
    """Return where the lock that somebody waits for was taken, as a conflicting access.

    The holder is left out on purpose: who of those in a deadlock is the current actor depends on
    the schedule, and the signature must not.
    """
    at = getattr(target, "acquired_at", "")
    return Death("held", None, at, 0) if at and target.holders() else None


def access_text(rt: Runtime, heard: Heard) -> str:
    """Return which access of the current actor hit a dead object, as ``read of X by ksmd``."""
    me = rt.current
    if me is not None and me.obj is not None and me.obj.owner is heard.target:
        return f"{me.op} of {me.obj.name} by {me.name}"
    return heard.message


def death_text(other: Death | None) -> str:
    """Return who ended the object's life, as ``freed by hotplug at put_page.1``."""
    if other is None:
        return "freed"
    who = "before the start" if other.actor is None else f"by {other.actor.name}"
    return f"{other.kind} {who} at {other.at}" if other.at else f"{other.kind} {who}"
