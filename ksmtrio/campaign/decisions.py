# SPDX-License-Identifier: GPL-2.0-or-later
"""The decisions of the portfolio, one JSON line an execution: who got it, and why.

Those of a block come in order, blocks in the order in which workers were done with them. Tests:
`tests/unit/test_campaign_decisions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs
import msgspec

from ksmtrio.errors import BadInput
from ksmtrio.sched.strategies.portfolio import Decision

FILE: Final = "decisions.jsonl"
"""Name of the file, in the directory for traces."""


class DecisionLog:
    """Writes decisions as they come; the first of them replaces what an earlier campaign left.

    Attributes:
        path: of the file, once there is one.
    """

    def __init__(self, directory: Path) -> None:
        self.path: Path | None = None
        self._directory = directory

    def add(self, scenario: str, decisions: Iterable[Decision]) -> None:
        """Write the decisions of some executions of one scenario.

        Raises:
            BadInput: the file cannot be written.
        """
        lines = [
            msgspec.json.encode({"scenario": scenario, **attrs.asdict(decision)}) + b"\n"
            for decision in decisions
        ]
        if not lines:
            return
        path = self._directory / FILE
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with path.open("wb" if self.path is None else "ab") as file:
                file.writelines(lines)
        except OSError as error:
            raise BadInput(f"{path}: cannot be written: {error.strerror or error}") from error
        self.path = path
