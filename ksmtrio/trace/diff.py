# SPDX-License-Identifier: GPL-2.0-or-later
"""The first difference between two streams of records, both sides shown with context.

A replay pushes the records it makes into a `Comparison`; two files are compared with
`first_difference`. Tests: `tests/unit/test_trace_diff.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, Final

import attrs

from ksmtrio.trace.format import ChoiceRecord, EventRecord, Record, encode, to_json

CONTEXT_RECORDS: Final = 3
"""Records shown before and after a difference."""


@attrs.frozen
class Difference:
    """Where two streams part.

    Attributes:
        line: line of the recorded trace, from 1.
        before: last records on which both agree.
        recorded: the record there and a few after it; empty at the end of the stream.
        replayed: the same of the other side.
        reason: why the other side ended early, or "".
    """

    line: int
    before: tuple[Record, ...]
    recorded: tuple[Record, ...]
    replayed: tuple[Record, ...]
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `recorded` and `replayed` are the differing records or None."""
        return {
            "line": self.line,
            "recorded": to_json(self.recorded[0]) if self.recorded else None,
            "replayed": to_json(self.replayed[0]) if self.replayed else None,
            "reason": self.reason,
            "before": [to_json(record) for record in self.before],
            "recorded_after": [to_json(record) for record in self.recorded[1:]],
            "replayed_after": [to_json(record) for record in self.replayed[1:]],
        }

    def lines(self) -> list[str]:
        """Return the difference as text: common context, then each side."""
        text = [f"    {describe(record)}" for record in self.before]
        text += [f"  - {describe(r)}" for r in self.recorded] or ["  - (the trace ends here)"]
        ended = self.reason or "the execution ends here"
        text += [f"  + {describe(r)}" for r in self.replayed] or [f"  + ({ended})"]
        return text


class Comparison:
    """Compares a recorded stream with records that arrive one by one.

    Args:
        recorded: line number and record, in order.
        context: records to keep before and after a difference.
    """

    def __init__(
        self, recorded: Iterator[tuple[int, Record]], *, context: int = CONTEXT_RECORDS
    ) -> None:
        self._recorded = recorded
        self._context = context
        self._before: deque[Record] = deque(maxlen=context)
        self._line = 0
        self._left: list[Record] = []
        self._right: list[Record] = []
        self._differs = False

    @property
    def differs(self) -> bool:
        """Whether a difference was seen."""
        return self._differs

    @property
    def full(self) -> bool:
        """Whether the context after the difference is complete, so that no more is needed."""
        return len(self._right) > self._context

    def feed(self, record: Record) -> None:
        """Take the next record of the other side."""
        if self._differs:
            self._right.append(record)
            return
        line, recorded = next(self._recorded, (self._line + 1, None))
        self._line = line
        if recorded is not None and encode(recorded) == encode(record):
            self._before.append(record)
            return
        self._part(recorded)
        self._right.append(record)

    def finish(self, reason: str = "") -> Difference | None:
        """Tell that the other side has ended; return the first difference, if any.

        Args:
            reason: why it ended, when that was early.
        """
        if not self._differs:
            line, recorded = next(self._recorded, (self._line + 1, None))
            if recorded is None and not reason:
                return None
            self._line = line
            self._part(recorded)
        after = self._context + 1
        return Difference(
            line=self._line,
            before=tuple(self._before),
            recorded=tuple(self._left[:after]),
            replayed=tuple(self._right[:after]),
            reason=reason if not self._right else "",
        )

    def _part(self, recorded: Record | None) -> None:
        self._differs = True
        if recorded is not None:
            self._left.append(recorded)
            following = zip(range(self._context), self._recorded, strict=False)
            self._left.extend(record for _, (_, record) in following)


def first_difference(
    left: Iterable[tuple[int, Record]],
    right: Iterable[tuple[int, Record]],
    *,
    context: int = CONTEXT_RECORDS,
) -> Difference | None:
    """Return where two streams first differ, or None when they are equal."""
    comparison = Comparison(iter(left), context=context)
    for _, record in right:
        comparison.feed(record)
        if comparison.full:
            break
    return comparison.finish()


def differing_paths(left: Any, right: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield path, left value and right value of each leaf in which two dumps differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted({*left, *right}):
            yield from differing_paths(left.get(key), right.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(left, list) and isinstance(right, list):
        for index, (mine, yours) in enumerate(zip_longest(left, right)):
            yield from differing_paths(mine, yours, f"{path}[{index}]")
    elif left != right:
        yield path, left, right


def describe(record: Record) -> str:
    """Return a record in one line of text for people."""
    if isinstance(record, EventRecord):
        fields = " ".join(f"{name}={value}" for name, value in record.fields.items())
        where = f"{record.step:>5} {record.actor or '-'}"
        return f"{where} {record.point} {record.event} {fields}".rstrip()
    if isinstance(record, ChoiceRecord):
        what = f" ({record.what})" if record.what else ""
        where = f"{record.step:>5} {record.actor or '-'}"
        return f"{where} {record.at} {record.stream} choice {record.index} of {record.of}{what}"
    plain = to_json(record)
    kind = plain.pop("record")
    return f"{kind} " + " ".join(f"{name}={value}" for name, value in plain.items())
