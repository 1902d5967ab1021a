# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that calls madvise(2) with the advice of KSM. Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from typing import ClassVar

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class Madviser(UserTask):
    """Calls madvise; by default makes all its pages unmergeable, then mergeable."""

    needs_pages: ClassVar[bool] = True

    def default_program(self) -> tuple[Op, ...]:
        """Forbid merging, then allow it again."""
        whole = {"page": 0, "pages": self.nr_pages()}
        return (
            operation("madvise", advice="UNMERGEABLE", **whole),
            operation("madvise", advice="MERGEABLE", **whole),
        )
