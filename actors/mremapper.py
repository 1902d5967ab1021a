# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that calls mremap(2). Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from typing import ClassVar

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class Mremapper(UserTask):
    """Moves mappings; by default its last page to where its first is."""

    needs_pages: ClassVar[bool] = True

    def default_program(self) -> tuple[Op, ...]:
        """Move the last page over the first, which is unmapped by that."""
        return (operation("mremap", page=self.nr_pages() - 1, to=0),)
