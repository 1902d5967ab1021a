# SPDX-License-Identifier: GPL-2.0-or-later
"""Known issues: which findings are defects of the kernel of the day, already explained.

Reads `known_issues.toml` beside this file. Tests: `tests/unit/test_campaign_known.py`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib.resources import files

import attrs
import msgspec

from ksmtrio.errors import EmulatorError
from ksmtrio.kconfig import KERNELS, SWITCHES, Kernel, build_kernel
from ksmtrio.subject import KernelSubject, Subject


@attrs.frozen
class KnownIssue:
    """One entry.

    Attributes:
        signature: pattern over the whole signature of a finding, as in `fnmatch`.
        explanation: one sentence.
        fix: switch that cures it, or None.
    """

    signature: str
    explanation: str
    fix: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    issue: list[KnownIssue] = []


def parse_known_issues(text: str) -> tuple[KnownIssue, ...]:
    """Return the entries of a file's text.

    Raises:
        EmulatorError: the file, which is part of ksmtrio, is malformed.
    """
    try:
        parsed = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise EmulatorError(f"known_issues.toml: {error}") from error
    for issue in parsed.issue:
        if issue.fix is not None and issue.fix not in SWITCHES:
            raise EmulatorError(f"known_issues.toml: fix {issue.fix!r} is no switch")
        if not issue.explanation.strip():
            raise EmulatorError(f"known_issues.toml: {issue.signature!r} has no explanation")
    return tuple(parsed.issue)


def load_known_issues() -> tuple[KnownIssue, ...]:
    """Return the entries that ship with ksmtrio."""
    file = files("ksmtrio.campaign") / "known_issues.toml"
    return parse_known_issues(file.read_text(encoding="utf-8"))


def is_as_named(kernel: Kernel) -> bool:
    """Return whether a kernel is one of `KERNELS` with no switch turned.

    Only there do known issues count: with a switch turned, the same signature may have another
    cause, and what the user looks for must not pass for a defect of the day.
    """
    base = kernel.name.split()[0]
    return base in KERNELS and kernel.switches() == build_kernel(base).switches()


def known_issues_of(
    kernel: Kernel, issues: Sequence[KnownIssue] | None = None
) -> tuple[KnownIssue, ...]:
    """Return the entries that count on `kernel`: those that it has not fixed.

    None counts where a switch was turned.

    Args:
        kernel: that a campaign or an execution is about.
        issues: to choose from; None reads those that ship with ksmtrio.
    """
    if not is_as_named(kernel):
        return ()
    states = kernel.switches()
    listed = load_known_issues() if issues is None else issues
    return tuple(issue for issue in listed if issue.fix is None or not states[issue.fix])


def known_in(subject: Subject, signature: str, issues: Sequence[KnownIssue]) -> KnownIssue | None:
    """Return the entry for a finding of a subject; programs that are no kernels have none."""
    return match_known(signature, issues) if isinstance(subject, KernelSubject) else None


def match_known(signature: str, issues: Sequence[KnownIssue]) -> KnownIssue | None:
    """Return the first entry that a signature matches, or None: the finding is new."""
    for issue in issues:
        if fnmatchcase(signature, issue.signature):
            return issue
    return None
