# SPDX-License-Identifier: GPL-2.0-or-later
"""The first difference between two streams, with context on both sides."""

from __future__ import annotations

from ksmtrio.trace.diff import Comparison, describe, differing_paths, first_difference
from ksmtrio.trace.format import EventRecord
from tests.unit.trace_files import CHOICE, EVENT, FINDING, FOOTER


def events(*values):
    return [
        (line, EventRecord(line, "a", f"f.{line}", "read", {"value": value}))
        for line, value in enumerate(values, start=2)
    ]


def test_equal_streams_have_no_difference():
    assert first_difference(events(1, 2, 3), events(1, 2, 3)) is None


def test_first_differing_record_is_shown_from_both_sides():
    found = first_difference(events(1, 2, 3, 4, 5, 6, 7, 8), events(1, 2, 3, 4, 9, 9, 9, 9))
    assert found is not None
    assert found.line == 6
    assert [r.fields["value"] for r in found.before] == [2, 3, 4]
    assert [r.fields["value"] for r in found.recorded] == [5, 6, 7, 8]
    assert [r.fields["value"] for r in found.replayed] == [9, 9, 9, 9]
    assert found.to_json()["recorded"]["fields"] == {"value": 5}
    text = found.lines()
    assert sum(line.startswith("  - ") for line in text) == 4
    assert sum(line.startswith("  + ") for line in text) == 4


def test_shorter_side_ends_in_the_difference():
    longer = first_difference(events(1), events(1, 2))
    shorter = first_difference(events(1, 2), events(1))
    assert longer is not None
    assert shorter is not None
    assert longer.line == shorter.line == 3
    assert longer.lines()[-2] == "  - (the trace ends here)"
    assert shorter.lines()[-1] == "  + (the execution ends here)"


def test_reason_of_an_early_end_is_shown():
    comparison = Comparison(iter(events(1, 2)))
    comparison.feed(events(1)[0][1])
    found = comparison.finish("choice 7 does not fit")
    assert found is not None
    assert found.lines()[-1] == "  + (choice 7 does not fit)"
    assert found.to_json()["replayed"] is None


def test_comparison_is_full_once_the_context_is_known():
    comparison = Comparison(iter(events(1, 2, 3)), context=1)
    fed = [record for _, record in events(1, 9, 8)]
    assert [(comparison.feed(r), comparison.full)[1] for r in fed] == [False, False, True]
    assert comparison.differs


def test_records_are_described_in_one_line_each():
    assert describe(EVENT) == "    1 a f.1 read target=x.y value=0"
    assert describe(CHOICE) == "    1 a f.1 schedule choice 1 of 2 (b)"
    assert describe(FINDING).startswith("finding signature=o:k@f.1")
    assert describe(FOOTER).startswith("footer verdict=finding")


def test_differing_leaves_of_two_dumps_are_named():
    left = {"pages": [[1, "a"], [2, "b"]], "same": 1}
    right = {"pages": [[1, "a"], [2, "c"], [3]], "same": 1, "new": None}
    assert list(differing_paths(left, right)) == [
        ("pages[1][1]", "b", "c"),
        ("pages[2]", None, [3]),
    ]
