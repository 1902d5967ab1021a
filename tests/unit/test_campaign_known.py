# SPDX-License-Identifier: GPL-2.0-or-later
"""Known issues: the file that ships is valid, patterns cover whole signatures, faults are named."""

from __future__ import annotations

import pytest

from ksmtrio.campaign.known import (
    KnownIssue,
    known_issues_of,
    load_known_issues,
    match_known,
    parse_known_issues,
)
from ksmtrio.errors import EmulatorError
from ksmtrio.kconfig import build_kernel

ENTRY = """
format = 1
[[issue]]
signature = "slab:*@f.3*"
explanation = "f frees too early"
fix = "ksm_notifier_first"
"""


def test_shipped_file_is_valid():
    assert all(issue.explanation for issue in load_known_issues())


def test_entry_is_read_and_matched_as_a_pattern():
    issues = parse_known_issues(ENTRY)
    assert issues == (KnownIssue("slab:*@f.3*", "f frees too early", "ksm_notifier_first"),)
    assert match_known("slab:use-after-free@f.3<-g.1", issues) is issues[0]
    assert match_known("frames:use-after-free@f.3", issues) is None
    assert match_known("slab:use-after-free@f.3", ()) is None


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "format = 'one'",
        "format = 1\nother = 2",
        ENTRY.replace("ksm_notifier_first", "no_such_switch"),
        ENTRY.replace("f frees too early", " "),
        ENTRY.replace("signature", "signatures"),
    ],
)
def test_malformed_file_is_a_fault_of_ours(text):
    with pytest.raises(EmulatorError, match=r"known_issues\.toml"):
        parse_known_issues(text)


def test_issues_count_on_named_kernels_alone():
    for name in ("v2.6.33", "pre-8"):
        assert known_issues_of(build_kernel(name)) == load_known_issues() != ()
    for changed in (
        build_kernel(without=["ksm_notifier_first"]),
        build_kernel("pre-8", with_=["ksm_notifier_first"]),
    ):
        assert known_issues_of(changed) == ()
        assert known_issues_of(changed, (KnownIssue("*", "all"),)) == ()


def test_issue_does_not_count_where_it_is_fixed():
    fixed, open_ = KnownIssue("a", "text", "ksm_notifier_first"), KnownIssue("b", "text")
    assert known_issues_of(build_kernel(), (fixed, open_)) == (open_,)
    assert known_issues_of(build_kernel("pre-8"), (fixed, open_)) == (fixed, open_)


def test_switch_that_is_as_it_was_changes_nothing():
    assert known_issues_of(build_kernel(with_=["ksm_notifier_first"])) == load_known_issues()
