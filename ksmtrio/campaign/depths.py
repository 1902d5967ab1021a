# SPDX-License-Identifier: GPL-2.0-or-later
"""Known races and how deep they are: what the strategies are measured on.

Reads `depths.toml` beside this file; the table in `manual/strategies.md` shows the same. Tests:
`tests/unit/test_campaign_depths.py`.
"""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from importlib.resources import files

import attrs
import msgspec

from ksmtrio.campaign.known import load_known_issues, match_known
from ksmtrio.errors import EmulatorError
from ksmtrio.kconfig import Kernel, build_kernel
from ksmtrio.scenario import load_scenario, parse_scenario
from ksmtrio.scenario.schema import Scenario
from ksmtrio.subject import KernelSubject


@attrs.frozen(kw_only=True)
class Race:
    """One race, or one thing that looks like one.

    Attributes:
        name: unique.
        depth: fewest ordering constraints between steps of different actors that suffice to show
            it, at least 1; 0: there is nothing to find.
        why: one sentence.
        switch: switch that is off, or "".
        issue: signature in `known_issues.toml`, or "": v2.6.33 as it is shows it.
        scenario: name of a built-in one, or "".
        text: of a scenario that is not built in, or "".
        finding: patterns of signatures that count; none: all that no known issue has.
        excluding: patterns of signatures that do not count all the same.
        constraints: each ``actor: label < actor: label``.

    Source: S. Burckhardt, P. Kothari, M. Musuvathi, S. Nagarakatte, "A Randomized Scheduler with
    Probabilistic Guarantees of Finding Bugs", ASPLOS 2010: the depth of a bug.
    """

    name: str
    depth: int
    why: str
    switch: str = ""
    issue: str = ""
    scenario: str = ""
    text: str = ""
    finding: tuple[str, ...] = ()
    excluding: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()

    def load(self) -> Scenario:
        """Return its scenario; only of one that can be found."""
        if self.scenario:
            return load_scenario(self.scenario)
        return parse_scenario(self.text, self.name)

    def kernel(self) -> Kernel:
        """Return the kernel that has it."""
        return build_kernel(without=[self.switch] if self.switch else [])

    def subject(self) -> KernelSubject:
        """Return what to execute in search of it."""
        return KernelSubject(self.load(), self.kernel())

    def counts(self, signature: str) -> bool:
        """Return whether a finding with this signature shows the race.

        Where the switch is off, a signature of a known issue never counts: the kernel shows it with
        the switch on, too.
        """
        if any(fnmatchcase(signature, pattern) for pattern in self.excluding):
            return False
        patterns = (self.issue,) if self.issue else self.finding
        if patterns:
            return any(fnmatchcase(signature, pattern) for pattern in patterns)
        return match_known(signature, load_known_issues()) is None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    race: list[Race] = []


def parse_races(text: str) -> tuple[Race, ...]:
    """Return the entries of a file's text.

    Raises:
        EmulatorError: the file, which is part of ksmtrio, is malformed.
    """
    try:
        return tuple(msgspec.convert(tomllib.loads(text), _File).race)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise EmulatorError(f"depths.toml: {error}") from error


def load_races() -> tuple[Race, ...]:
    """Return the entries that ship with ksmtrio."""
    return parse_races((files("ksmtrio.campaign") / "depths.toml").read_text(encoding="utf-8"))
