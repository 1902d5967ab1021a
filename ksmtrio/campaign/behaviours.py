# SPDX-License-Identifier: GPL-2.0-or-later
"""How many behaviours executions had, how many are left, and whether new ones still turn up.

A `ClassCount` knows, of each class that it keeps, how many executions were in it and the first of
them; from that come the number of classes, the probability that the next execution is in none of
them, and the classes that were new in each part of the campaign. It is bounded: of very many
classes it keeps those with the smallest hashes, which are a fair sample. Counts of workers add up
to the same whatever their order. Tests: `tests/unit/test_campaign_behaviours.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

import attrs

from ksmtrio.sched.behaviour import Behaviour

KEPT_MAX: Final = 2048
"""Classes kept; what is said of them is exact up to here."""

SAMPLE: Final = 8
"""One seed in so many has its behaviour looked at, where the look would cost too much."""

SLICES: Final = 12
"""Parts of a campaign whose new behaviours are counted."""

_CONFIDENCE: Final = 0.95
_HASH_RANGE: Final = 1 << 64
_GOLDEN: Final = 0x9E3779B97F4A7C15
_BARS: Final = " .:-=+*#%@"

Row = tuple[int, int, int]
"""Hash of a class, executions in it, number of the first."""


def in_sample(seed: int, one_in: int = SAMPLE) -> bool:
    """Return whether a seed's behaviour is looked at: one in `one_in`, evenly, of either parity.

    Multiplying by the golden ratio spreads seeds so that no rule by which a seed picks its strategy
    falls in step with the sample (D. Knuth, The Art of Computer Programming, vol. 3, 6.4).
    """
    return seed * _GOLDEN % _HASH_RANGE < _HASH_RANGE // one_in


class ClassCount:
    """Counts executions by class in bounded memory: by behaviour, or by schedule.

    Attributes:
        executions: that were counted.

    Source of the sample: Bar-Yossef, Jayram, Kumar, Sivakumar, Trevisan, "Counting Distinct
    Elements in a Data Stream", RANDOM 2002.
    """

    def __init__(self) -> None:
        self.executions = 0
        self._rows: dict[int, tuple[int, int]] = {}
        self._ceiling = _HASH_RANGE

    def add(self, hashed: int, number: int) -> bool:
        """Count execution `number`, which is in the class with this hash of 64 bits.

        Returns:
            Whether the class is new, as far as classes are kept.
        """
        self.executions += 1
        return self._count((hashed, 1, number))

    def update(self, executions: int, rows: Iterable[Row]) -> None:
        """Add what another count has counted: its `executions` and its `rows()`."""
        self.executions += executions
        for row in rows:
            self._count(row)

    def rows(self) -> list[Row]:
        """Return the classes with the smallest hashes: all there is to know of this count."""
        smallest = sorted(self._rows.items())[:KEPT_MAX]
        return [(hashed, count, first) for hashed, (count, first) in smallest]

    @property
    def exact(self) -> bool:
        """Whether every class is kept."""
        return self._ceiling == _HASH_RANGE and len(self._rows) < KEPT_MAX

    def distinct(self) -> int:
        """Return the number of classes; above `KEPT_MAX` an estimate, good to about 2 %."""
        rows = self.rows()
        if self.exact:
            return len(rows)
        return (len(rows) - 1) * _HASH_RANGE // max(rows[-1][0], 1)

    def seen_once(self) -> float:
        """Return the number of classes with a single execution, estimated as in `distinct`."""
        rows = self.rows()
        once = sum(count == 1 for _, count, _ in rows)
        return once * self.distinct() / max(len(rows), 1)

    def new_in(self, begin: int, end: int) -> float:
        """Return how many classes had their first execution in ``[begin, end)``."""
        rows = self.rows()
        new = sum(begin <= first < end for _, _, first in rows)
        return new * self.distinct() / max(len(rows), 1)

    def _count(self, row: Row) -> bool:
        hashed, count, first = row
        if hashed >= self._ceiling:
            return False
        before = self._rows.get(hashed)
        if before is not None:
            self._rows[hashed] = (before[0] + count, min(before[1], first))
            return False
        self._rows[hashed] = (count, first)
        if len(self._rows) > 2 * KEPT_MAX:
            rows = self.rows()
            self._ceiling = rows[-1][0] + 1
            self._rows = {hashed: (count, first) for hashed, count, first in rows}
        return True


@attrs.define
class BehaviourCount:
    """The behaviours of the executions of one subject."""

    reads_from: ClassCount = attrs.field(factory=ClassCount)
    lock_order: ClassCount = attrs.field(factory=ClassCount)
    both: ClassCount = attrs.field(factory=ClassCount)

    def add(self, behaviour: Behaviour, number: int) -> bool:
        """Count execution `number`; return whether nothing that is kept has behaved so before."""
        self.reads_from.add(behaviour.reads_from, number)
        self.lock_order.add(behaviour.lock_order, number)
        return self.both.add(behaviour.both(), number)

    def update(self, other: BehaviourRows) -> None:
        """Add what another count has counted."""
        for mine, rows in zip(self._parts(), other.parts, strict=True):
            mine.update(other.executions, rows)

    def to_rows(self) -> BehaviourRows:
        """Return this count as plain data."""
        parts = tuple(tuple(part.rows()) for part in self._parts())
        return BehaviourRows(self.both.executions, parts)

    def _parts(self) -> tuple[ClassCount, ClassCount, ClassCount]:
        return self.reads_from, self.lock_order, self.both


@attrs.frozen
class BehaviourRows:
    """A `BehaviourCount` as it goes from one process to another."""

    executions: int = 0
    parts: tuple[tuple[Row, ...], ...] = ((), (), ())

    def after(self, executions: int) -> BehaviourRows:
        """Return the same of executions that come after so many others."""
        parts = tuple(
            tuple((hashed, count, executions + first) for hashed, count, first in rows)
            for rows in self.parts
        )
        return BehaviourRows(self.executions, parts)


def unseen_mass(counts: Sequence[ClassCount]) -> float | None:
    """Return the probability that the next execution is in a class that was not seen.

    Estimate of Good and Turing: classes seen once, by executions. None: nothing was executed.

    Source: I. Good, "The Population Frequencies of Species and the Estimation of Population
    Parameters", Biometrika 1953; for testing: M. Boehme, "STADS: Software Testing as Species
    Discovery", TOSEM 2018.
    """
    executions = sum(count.executions for count in counts)
    if not executions:
        return None
    return min(1.0, sum(count.seen_once() for count in counts) / executions)


def unseen_mass_bound(mass: float | None, executions: int) -> float | None:
    """Return what the unseen mass is below at 95 %, for executions independent of each other.

    With n executions the unseen mass exceeds its mean by more than e with probability at most
    exp(-n e^2) (D. Berend, A. Kontorovich, "On the Concentration of the Missing Mass", ECP 2013);
    the estimate, which one execution changes by at most 2/n, falls short of its own mean, which is
    no smaller, with at most exp(-n e^2 / 2) (C. McDiarmid, "On the Method of Bounded Differences",
    1989). Each gets half of the 5 %.
    """
    if mass is None or executions <= 0:
        return None
    root = math.sqrt(math.log(2.0 / (1.0 - _CONFIDENCE)) / executions)
    return min(1.0, mass + (1.0 + math.sqrt(2.0)) * root)


def saturation(counts: Sequence[ClassCount], executed: int, first: int = 0) -> list[int]:
    """Return how many behaviours were new in each of `SLICES` equal parts of a campaign.

    Args:
        counts: one a subject.
        executed: executions of each subject, looked at or not.
        first: number of the first execution.
    """
    parts = min(SLICES, max(executed, 1))
    ends = [first + executed * part // parts for part in range(parts + 1)]
    ends[-1] = max([ends[-1], *(row[2] + 1 for count in counts for row in count.rows())])
    return [
        round(sum(count.new_in(begin, end) for count in counts)) for begin, end in pairwise(ends)
    ]


def sparkline(values: Sequence[int]) -> str:
    """Return a plot of one line, a character a value, `@` for the largest, a blank for 0."""
    top = max([*values, 1])
    return "".join(_BARS[math.ceil(value * (len(_BARS) - 1) / top)] for value in values)


def report_seen(
    counts: Sequence[BehaviourCount], executed: int, *, first: int = 0
) -> dict[str, Any]:
    """Return what was seen of the behaviours, for `--json`, and nothing of what was not.

    Args: as `report`.
    """
    both = [count.both for count in counts]
    return {
        "looked_at": sum(count.executions for count in both),
        "distinct": sum(count.distinct() for count in both),
        "reads_from": sum(count.reads_from.distinct() for count in counts),
        "lock_order": sum(count.lock_order.distinct() for count in counts),
        "exact": all(count.exact for count in both),
        "new_per_slice": saturation(both, executed, first),
    }


def report(
    counts: Sequence[BehaviourCount], executed: int, one_in: int, *, first: int = 0
) -> dict[str, Any]:
    """Return what is known of the behaviours of executions drawn at random, for `--json`.

    Args:
        counts: one a subject.
        executed: executions of each subject, or the most that one had.
        one_in: of how many executions the behaviour of one was looked at.
        first: number of the first execution.
    """
    both = [count.both for count in counts]
    seen = report_seen(counts, executed, first=first)
    mass = unseen_mass(both)
    return seen | {
        "one_in": one_in,
        "seen_once": round(sum(count.seen_once() for count in both)),
        "unseen_mass": mass,
        "unseen_mass_bound_95": unseen_mass_bound(mass, seen["looked_at"]),
    }
