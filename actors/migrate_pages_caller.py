# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that calls migrate_pages(2). Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from typing import ClassVar

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class MigratePagesCaller(UserTask):
    """Calls migrate_pages; by default moves its process to the last node and back."""

    needs_pages: ClassVar[bool] = True

    def default_program(self) -> tuple[Op, ...]:
        """Move all pages to the last node, and back to the first."""
        first, last = (min(self.g.zones),), (max(self.g.zones),)
        return (
            operation("migrate_pages", old_nodes=first, new_nodes=last),
            operation("migrate_pages", old_nodes=last, new_nodes=first),
        )
