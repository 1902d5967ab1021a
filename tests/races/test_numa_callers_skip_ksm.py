# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `numa_callers_skip_ksm` (hunks 16, 23, 25): an interface decision, no guard."""

from __future__ import annotations

from ksmtrio.scenario import parse_scenario
from tests.campaigns import QUIET, follow, search

TEXT = """
format = 1
name = "statuses"
description = "move_pages of a KSM page"
[[ksm.merged]]
pages = ["A:0"]
[[process]]
name = "A"
[[process.vma]]
pages = 1
contents = 7
mergeable = true
[[actor]]
name = "mover"
kind = "move_pages_caller"
process = "A"
program = [
    {{ op = "move_pages", pages = [0], node = 1, expect = ["{moved}"] }},
    {{ op = "query_pages", pages = [0], expect = [{queried}] }},
]
"""


def test_with_it_a_ksm_page_is_reported_absent() -> None:
    scenario = parse_scenario(TEXT.format(moved="-ENOENT", queried='"-ENOENT"'), "statuses")
    assert follow(scenario).signatures() == ()


def test_without_it_the_page_is_isolated_refused_and_its_node_reported() -> None:
    scenario = parse_scenario(TEXT.format(moved="-EBUSY", queried="0"), "statuses")
    assert follow(scenario, without=["numa_callers_skip_ksm"]).signatures() == ()


def test_nothing_breaks_without_it_while_the_recheck_stands() -> None:
    assert not search("move_pages_vs_merge", QUIET, without=["numa_callers_skip_ksm"]).unexplained()
