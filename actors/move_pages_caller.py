# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that calls move_pages(2). Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from typing import ClassVar

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class MovePagesCaller(UserTask):
    """Calls move_pages; by default moves all its pages to the last node."""

    needs_pages: ClassVar[bool] = True

    def default_program(self) -> tuple[Op, ...]:
        """Move all pages to the last node."""
        pages = tuple(range(self.nr_pages()))
        return (operation("move_pages", pages=pages, node=max(self.g.zones), flags=("MOVE",)),)
