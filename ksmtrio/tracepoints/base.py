# SPDX-License-Identifier: GPL-2.0-or-later
"""What an event is, and how the values in it are rendered.

A value must look the same in every process and on every Python: integers, flags, strings and None
stay, tuples and lists become lists, everything else is shown by its own `str`. Floats, sets and
objects that would show their address are refused as a fault of ours. Tests:
`tests/unit/test_trace_recorder.py`.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import attrs

from ksmtrio.errors import EmulatorError

Value: TypeAlias = "int | str | bool | list[Value] | None"
"""What may stand in a field of an event."""

_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 63) - 1
_AS_THEY_ARE: Final = frozenset({str, bool, type(None)})


@attrs.frozen
class Event:
    """One thing that happened in an execution.

    Attributes:
        step: schedule points passed when it happened.
        actor: who did it; "" when no actor held the baton (set-up, the machine at rest).
        point: label of the schedule point.
        event: operation, as ``read``, or tracepoint, as ``memhp:mem_offline``.
        fields: name -> value, e.g. ``target`` and ``value`` of an operation.
    """

    step: int
    actor: str
    point: str
    event: str
    fields: dict[str, Value]

    @property
    def system(self) -> str:
        """The trace system before the colon; "" for an operation on a cell or lock."""
        head, colon, _ = self.event.partition(":")
        return head if colon else ""


def _is_nameless(kind: type[Any]) -> bool:
    return all(getattr(kind, show) is getattr(object, show) for show in ("__str__", "__repr__"))


def render(value: Any) -> Value:
    """Return `value` as it stands in a trace.

    Raises:
        EmulatorError: it has no rendering that is equal in every process.
    """
    kind = type(value)
    if kind in _AS_THEY_ARE:
        same: Value = value
        return same
    if kind is int:
        number: int = value
        return number if _INT_MIN <= number <= _INT_MAX else str(number)
    if kind is tuple or kind is list:
        return [render(item) for item in value]
    if _is_nameless(kind):
        raise EmulatorError(f"an event shows a {kind.__name__}, which has no name of its own")
    if isinstance(value, float | set | frozenset):
        raise EmulatorError(f"an event shows a {kind.__name__}; events have no floats and no sets")
    return str(value)
