# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing executed is never clean; the evidence counts right."""

from __future__ import annotations

import pytest

from ksmtrio.campaign.evidence import (
    Evidence,
    failure_probability_bound,
    hash_of,
)
from ksmtrio.sched.choices import Choices
from ksmtrio.trace.verdict import verdict_of


def evidence(executions, *, findings=0, found=True):
    canary = None if found is None else {"found": found}
    return Evidence(executions, 10 * executions, executions, {}, canary, findings, {})


def test_clean_needs_an_execution():
    assert verdict_of(executions=0, findings=0) == "undecided"
    assert verdict_of(executions=1, findings=0) == "clean"
    assert verdict_of(executions=1, findings=2) == "finding"


def test_missed_canary_takes_the_word_clean_away():
    assert evidence(9).verdict() == "clean"
    assert evidence(9, found=None).verdict() == "clean"
    assert evidence(9, found=False).verdict() == "undecided"
    assert evidence(9, found=False, findings=1).verdict() == "finding"


def test_bound_is_the_rule_of_three():
    assert failure_probability_bound(0) is None
    assert failure_probability_bound(1) == pytest.approx(0.95)
    assert failure_probability_bound(3000) == pytest.approx(3 / 3000, rel=0.01)
    assert evidence(5, findings=1).to_json()["failure_probability_bound_95"] is None


def test_hash_tells_streams_apart():
    assert hash_of(Choices([1, 0], [], [])) == hash_of(Choices([1, 0], [], []))
    assert len({hash_of(c) for c in (Choices([1]), Choices([], [1]), Choices([1, 1]))}) == 3
