# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that calls mlock(2). Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from typing import ClassVar

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class Mlocker(UserTask):
    """Locks memory; by default all its pages, and unlocks them again."""

    needs_pages: ClassVar[bool] = True

    def default_program(self) -> tuple[Op, ...]:
        """Lock all pages, and unlock them."""
        whole = {"page": 0, "pages": self.nr_pages()}
        return (operation("mlock", **whole), operation("munlock", **whole))
