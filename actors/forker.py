# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that calls fork(2). Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from typing import ClassVar

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class Forker(UserTask):
    """Forks; by default once, and then writes to each of its pages."""

    needs_pages: ClassVar[bool] = True

    def default_program(self) -> tuple[Op, ...]:
        """Fork a child that just lives, and break the sharing of each page."""
        stores = (
            operation("store", page=page, value=1100 + page) for page in range(self.nr_pages())
        )
        return (operation("fork"), *stores)
