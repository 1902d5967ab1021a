# SPDX-License-Identifier: GPL-2.0-or-later
"""The choices of an execution: all the non-determinism there is, in three separate streams.

A *schedule* choice is an index into the enabled actors in creation order; *data* choices pick among
equally legal outcomes (which free frame); *fault* choices make something fail. Only choices with
more than one alternative are recorded. Tests: `tests/unit/test_choices.py`.
"""

from __future__ import annotations

import attrs


@attrs.define
class Choices:
    """What was chosen, in order, stream by stream. Shared by generate, replay and shrink."""

    schedule: list[int] = attrs.field(factory=list)
    data: list[int] = attrs.field(factory=list)
    faults: list[int] = attrs.field(factory=list)
