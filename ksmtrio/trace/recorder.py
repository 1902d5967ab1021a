# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns what the runtime tells into records, digests them and hands them to sinks.

Owns no file: a writer, or the comparison of a replay, is a sink. May not change the machine. Tests:
`tests/unit/test_trace_recorder.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from ksmtrio.errors import EmulatorError
from ksmtrio.sched.tap import Tap
from ksmtrio.trace.digest import EventDigest
from ksmtrio.trace.format import BodyRecord, ChoiceRecord, EventRecord, Stream, encode
from ksmtrio.tracepoints.base import render
from ksmtrio.tracepoints.registry import check_event

if TYPE_CHECKING:
    from ksmtrio.sched.runtime import Runtime

Sink: TypeAlias = Callable[[BodyRecord, bytes], None]
"""Told of each record with its canonical JSON. May raise `ReplayDiverged` to end the execution."""

_STREAMS: dict[str, Stream] = {"schedule": "schedule", "data": "data", "faults": "faults"}


class Recorder(Tap):
    """The tap that makes records.

    Args:
        sinks: told of each record in order.

    Attributes:
        records: how many there were.
    """

    def __init__(self, *sinks: Sink) -> None:
        self.records = 0
        self._sinks = sinks
        self._digest = EventDigest()
        self._rt: Runtime | None = None

    def attach(self, rt: Runtime) -> None:
        """Take steps and actors from this runtime."""
        self._rt = rt

    def operation(self, at: str, event: str, target: Any, value: Any) -> None:
        """Record an operation on a cell or lock."""
        fields: dict[str, Any] = {
            "target": None if target is None else str(target.name),
            "value": render(value),
        }
        step, actor = self._where()
        self.emit(EventRecord(step, actor, at, event, fields))

    def tracepoint(self, at: str, event: str, fields: dict[str, Any]) -> None:
        """Record a tracepoint.

        Raises:
            EmulatorError: its system is unknown.
        """
        check_event(event)
        step, actor = self._where()
        rendered = {name: render(value) for name, value in fields.items()}
        self.emit(EventRecord(step, actor, at, event, rendered))

    def choice(self, stream: str, at: str, index: int, of: int, what: str) -> None:
        """Record a choice."""
        known = _STREAMS.get(stream)
        if known is None:
            raise EmulatorError(f"a choice of the unknown stream {stream!r}")
        step, actor = self._where()
        self.emit(ChoiceRecord(step, actor, at, known, index, of, what))

    def emit(self, record: BodyRecord) -> None:
        """Digest a record and tell the sinks."""
        line = encode(record)
        self.records += 1
        self._digest.update(line)
        for sink in self._sinks:
            sink(record, line)

    def hexdigest(self) -> str:
        """Return the digest of all records so far."""
        return self._digest.hexdigest()

    def _where(self) -> tuple[int, str]:
        rt = self._rt
        if rt is None:
            return 0, ""
        actor = rt.current
        return rt.points, "" if actor is None else actor.name
