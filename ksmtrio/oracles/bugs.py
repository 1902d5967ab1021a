# SPDX-License-Identifier: GPL-2.0-or-later
"""The bugs oracle: the emulated kernel's own assertions, and NULL dereferences.

Tests: `tests/unit/test_oracles_bugs.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ksmtrio.oracles.notices import Heard, NoticeOracle

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS: Final = {
    "BUG_ON": "kernel BUG at",
    "VM_BUG_ON": "kernel BUG at",
    "null-dereference": "BUG: unable to handle kernel NULL pointer dereference at",
    "WARN_ON": "WARNING: at",
}


class AssertionOracle(NoticeOracle):
    """The checks of a program that is no kernel; one that fails ends the execution.

    So does an exception that a task raises.
    """

    name = "bugs"
    description = "every check of the program holds, no task raises an exception"
    kinds: ClassVar[Mapping[str, bool]] = {"assertion": True, "exception": True}


class BugsOracle(NoticeOracle):
    """A WARN_ON is noted and the run goes on; the others end it."""

    name = "bugs"
    description = "no BUG_ON, VM_BUG_ON, WARN_ON or NULL dereference"
    kinds: ClassVar[Mapping[str, bool]] = {
        "BUG_ON": True,
        "VM_BUG_ON": True,
        "null-dereference": True,
        "WARN_ON": False,
    }

    def text(self, heard: Heard) -> str:
        """In the manner of an oops."""
        return f"{_WORDS[heard.kind]} {heard.at}: {heard.message}"
