# SPDX-License-Identifier: GPL-2.0-or-later
"""Interleavings from files: read, and held against the scenario and the points that there are.

Tests: `tests/cli/test_cli_interleave.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ksmtrio.campaign.listing import points
from ksmtrio.errors import BadInput
from ksmtrio.scenario import Scenario
from ksmtrio.sched.strategies.interleave import Interleave, parse_interleaving

BYTES_MAX: Final = 1 << 20
"""Largest file of an interleaving."""


def load_interleaving(file: Path, scenario: Scenario) -> Interleave:
    """Return the strategy that follows the lines of a file.

    Raises:
        BadInput: the file cannot be read, is no text or too long, or a line is not right.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(BYTES_MAX + 1)
        text = raw.decode()
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: is no text in UTF-8") from error
    if len(raw) > BYTES_MAX:
        raise BadInput(f"{file}: larger than {BYTES_MAX} bytes")
    actors = [actor.name for actor in scenario.actors]
    labels = [row["label"] for row in points()]
    return Interleave(parse_interleaving(text, str(file), actors=actors, labels=labels))
