# SPDX-License-Identifier: GPL-2.0-or-later
"""What an oracle is, and what it says: findings with a signature that survives seeds and shrinking.

Oracles never change the machine and never import `kconfig`. Tests: `tests/unit/test_oracles_*.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from ksmtrio.mm.mm_types import Watchers
from ksmtrio.sched.cell import Cell, Death
from ksmtrio.sched.runtime import Runtime

if TYPE_CHECKING:
    from ksmtrio.machine import Machine
    from ksmtrio.sched.actor_state import ActorState

AT_REST: Final = "quiescence"
"""Point of what is seen only when the machine has come to rest."""


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that an oracle saw.

    Attributes:
        oracle: its name.
        kind: what is wrong, e.g. ``use-after-free``.
        point: label where it was seen.
        other: label of the last conflicting access by another actor, or "".
        message: one line in the kernel's own manner.
        actors: names of those involved, the one that noticed first.
        corrupting: the machine's state is not to be trusted from here; the execution ends.
        step: schedule points passed when it was seen.
    """

    oracle: str
    kind: str
    point: str
    other: str = ""
    message: str
    actors: tuple[str, ...] = ()
    corrupting: bool = True
    step: int = 0

    @property
    def signature(self) -> str:
        """``oracle:kind@point<-other``; campaigns deduplicate by it."""
        text = f"{self.oracle}:{self.kind}@{self.point}"
        return f"{text}<-{self.other}" if self.other else text


class Findings:
    """Collects the findings of one execution, each signature once, and ends it when corrupting.

    Args:
        rt: the execution's runtime.
    """

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._seen: dict[str, Finding] = {}

    def all(self) -> list[Finding]:
        """Return them in order of appearance."""
        return list(self._seen.values())

    def report(
        self,
        oracle: str,
        kind: str,
        at: str,
        message: str,
        *,
        other: Death | None = None,
        last: Cell[Any] | None = None,
        actors: tuple[str, ...] = (),
        corrupting: bool = True,
    ) -> None:
        """Record a finding; a corrupting one ends the execution when actors still run.

        Args:
            oracle, kind, at, message: as in `Finding`.
            other: the conflicting access, when the machine knows it.
            last: a cell whose last writer is the conflicting access, unless that is the current
                actor.
            actors: further actors involved.
            corrupting: whether to end the execution.
        """
        rt = self._rt
        me = rt.current
        point = ""
        names: list[str] = [] if me is None else [me.name]
        by: ActorState | None = None
        if other is not None:
            by, point = other.actor, other.at
        elif last is not None:
            by, point = last.writer, last.written_at
        if by is not None and by is me:
            point = ""
        elif by is not None:
            names.append(by.name)
        names.extend(name for name in actors if name not in names)
        finding = Finding(
            oracle=oracle,
            kind=kind,
            point=at,
            other=point,
            message=message,
            actors=tuple(names),
            corrupting=corrupting,
            step=rt.points,
        )
        if finding.signature not in self._seen:
            self._seen[finding.signature] = finding
            if rt.recorder is not None:
                rt.recorder.tracepoint(
                    at, "finding", {"signature": finding.signature, "message": message}
                )
        if corrupting and me is not None and not rt.over:
            rt.end("finding")


class Oracle(Protocol):
    """A judge of one execution; made anew for each.

    Life: `watchers` is asked before the machine is built, `attach` after the start state is set up
    and before any actor runs, `quiescent` after the execution ended normally and all pagevecs were
    drained (never after a corrupting finding).
    """

    name: str
    description: str

    def watchers(self) -> Watchers:
        """Return who is to be told of writes to which cells, e.g. ``page._count``."""
        ...

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Look at the start state, register listeners."""
        ...

    def quiescent(self) -> None:
        """Judge the machine at rest."""
        ...
