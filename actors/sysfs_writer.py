# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that writes files of sysfs. Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from actors.base import UserTask, operation
from ksmtrio.mm.ksm_sysfs import KSM_SYSFS
from ksmtrio.scenario.schema import Op


class SysfsWriter(UserTask):
    """Writes files; by default takes all KSM pages apart, and lets ksmd scan again."""

    def default_program(self) -> tuple[Op, ...]:
        """Write 2, then 1, to the file run of KSM."""
        return tuple(
            operation("sysfs_write", path=f"{KSM_SYSFS}/run", text=text) for text in ("2", "1")
        )
