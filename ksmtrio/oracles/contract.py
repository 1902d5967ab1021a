# SPDX-License-Identifier: GPL-2.0-or-later
"""The contract oracle: system calls and sysfs files answer as the scenario expects.

The runner knows the scenario's ``expect`` and ``[end]`` and says where an answer or the end state
differs; this oracle makes findings of it. Not corrupting: the machine is as sound as before. Tests:
`tests/unit/test_oracles_contract.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ksmtrio.oracles.notices import Heard, NoticeOracle

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS: Final = {
    "unexpected-answer": "unexpected answer",
    "unexpected-end": "unexpected end state",
}


class ContractOracle(NoticeOracle):
    """What the scenario asked for and did not get."""

    name = "contract"
    description = "system calls, sysfs files and the end state are as the scenario expects"
    kinds: ClassVar[Mapping[str, bool]] = {"unexpected-answer": False, "unexpected-end": False}

    def text(self, heard: Heard) -> str:
        """Say what differs."""
        return f"{_WORDS[heard.kind]} at {heard.at}: {heard.message}"
