# SPDX-License-Identifier: GPL-2.0-or-later
"""The file of the portfolio's decisions."""

from __future__ import annotations

import json

import pytest

from ksmtrio.campaign.decisions import DecisionLog
from ksmtrio.errors import BadInput
from ksmtrio.sched.strategies.portfolio import Decision

FLOOR = Decision(64, "random", "floor")
DRAWN = Decision(65, "pos", "drawn", chance=612, won=3, lost=1)


def test_each_decision_is_a_line_that_says_who_and_why(tmp_path):
    log = DecisionLog(tmp_path / "traces")
    log.add("first_race", [FLOOR])
    log.add("first_race", [DRAWN])
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["member"] for line in lines] == ["random", "pos"]
    assert lines[1] == {
        "scenario": "first_race",
        "seed": 65,
        "member": "pos",
        "why": "drawn",
        "chance": 612,
        "won": 3,
        "lost": 1,
    }


def test_without_decisions_there_is_no_file(tmp_path):
    log = DecisionLog(tmp_path / "traces")
    log.add("first_race", [])
    assert log.path is None
    assert not list(tmp_path.iterdir())


def test_file_of_an_earlier_campaign_is_replaced(tmp_path):
    for decision in (FLOOR, DRAWN):
        log = DecisionLog(tmp_path)
        log.add("first_race", [decision])
    assert [json.loads(line)["seed"] for line in log.path.read_text().splitlines()] == [65]


def test_directory_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "traces").write_text("a file")
    with pytest.raises(BadInput, match=r"decisions\.jsonl: cannot be written"):
        DecisionLog(tmp_path / "traces").add("first_race", [FLOOR])
