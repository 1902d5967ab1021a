# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that calls mbind(2). Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from typing import ClassVar

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class MbindCaller(UserTask):
    """Calls mbind; by default binds all its pages to the last node, moving them."""

    needs_pages: ClassVar[bool] = True

    def default_program(self) -> tuple[Op, ...]:
        """Bind all pages to the last node, moving those that others map too."""
        nodes = (max(self.g.zones),)
        args = {"page": 0, "pages": self.nr_pages(), "nodes": nodes, "flags": ("MOVE_ALL",)}
        return (operation("mbind", **args),)
