# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of trace files, and what a report says of a finding."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ksmtrio.campaign.findings import DistinctFinding, Sighting, safe_name
from ksmtrio.campaign.known import KnownIssue
from ksmtrio.oracles.base import Finding
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies import StrategySpec


def distinct(**changes):
    seen = Finding(oracle="slab", kind="double-free", point="f.3", other="g.1", message="BUG: x")
    sighting = Sighting(seen, StrategySpec("random", 8), Choices())
    found = DistinctFinding(sighting, SimpleNamespace(name="s"), 9, count=2)
    found.by_scenario["s"] = 2
    for name, value in changes.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("slab:use-after-free@f.3#2<-g/h.1", "slab-use-after-free-f.3-2-g-h.1"),
        ("../../etc/passwd", "etc-passwd"),
        ("...", "unnamed"),
        ("", "unnamed"),
        ("caf\u00e9 x", "caf-x"),
    ],
)
def test_any_text_makes_a_safe_file_name(text, name):
    assert safe_name(text) == name


def test_long_names_stay_short_and_different():
    one, other = safe_name("a" * 300), safe_name("a" * 299)
    assert len(one) < 120
    assert one != other


def test_promised_keys_come_first():
    keys = [
        "signature",
        "oracle",
        "kind",
        "point",
        "known",
        "count",
        "first_execution",
        "trace",
        "command",
    ]
    plain = distinct().to_json()
    assert list(plain)[: len(keys)] == keys
    assert plain["signature"] == "slab:double-free@f.3<-g.1"
    assert plain["known"] is False
    assert plain["command"] == ""


def test_command_is_quoted_for_a_shell():
    found = distinct(trace=Path("my dir/x.jsonl.gz"))
    assert found.command == "ksmtrio replay 'my dir/x.jsonl.gz'"


def test_known_finding_says_why():
    found = distinct(known=KnownIssue("*", "as it was", "ksm_notifier_first"))
    plain = found.to_json()
    assert (plain["known"], plain["explanation"], plain["fix"]) == (
        True,
        "as it was",
        "ksm_notifier_first",
    )
