# SPDX-License-Identifier: GPL-2.0-or-later
"""The file in which an exploration waits to be gone on with: JSON, validated when it is read.

Tests: `tests/cli/test_cli_explore.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from ksmtrio.campaign.exploring import Harvest, Quest
from ksmtrio.errors import BadInput
from ksmtrio.sched.exploration.base import Counts, Covered, SavedState
from ksmtrio.subject import KernelSubject
from ksmtrio.trace.digest import digest_of

_FORMAT: Final = 1
_BYTES_MAX: Final = 1 << 30


@attrs.define(kw_only=True)
class SavedExploration:
    """What is left of an exploration, and what was seen.

    Attributes:
        done: counts of the parts that have come to their end.
        parts: states of those that have not.
        covered: by the former; None: there is none.
        complete: none of the former has left anything out.
    """

    harvest: Harvest
    done: Counts
    seconds: float
    parts: list[SavedState]
    covered: Covered | None
    complete: bool


@attrs.define(kw_only=True)
class _File:
    """The whole document; `of` says what is explored, and how."""

    format: int
    of: dict[str, Any]
    exploration: SavedExploration


def save_exploration(path: Path, quest: Quest, saved: SavedExploration) -> None:
    """Write what is left, in one go, so that an older file stays whole until the new one is.

    Raises:
        BadInput: the file cannot be written.
    """
    document = _File(format=_FORMAT, of=_identity(quest), exploration=saved)
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(msgspec.json.encode(document))
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror or error}") from error


def load_exploration(path: Path, quest: Quest) -> SavedExploration:
    """Read what is left of the exploration of the same subject in the same manner.

    Raises:
        BadInput: the file cannot be read, is none of ours, or is about something else.
    """
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise BadInput(f"{path}: is larger than a saved exploration may be")
        document = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: is no saved exploration: {error}") from error
    if document.format != _FORMAT:
        raise BadInput(f"{path}: has format {document.format}; this ksmtrio reads {_FORMAT}")
    for key, mine in _identity(quest).items():
        theirs = document.of.get(key)
        if theirs != mine:
            raise BadInput(f"{path}: was saved with {key} {theirs!r}; it is {mine!r} now")
    saved = document.exploration
    if not saved.parts and saved.covered is None:
        raise BadInput(f"{path}: is no saved exploration: nothing was done and nothing is left")
    return saved


def _identity(quest: Quest) -> dict[str, Any]:
    """Return what must be the same for an exploration to be gone on with."""
    subject, settings = quest.subject, quest.settings
    if isinstance(subject, KernelSubject):
        what = {
            "scenario": subject.name,
            "scenario digest": digest_of(subject.scenario.text),
            "kernel": subject.kernel.name,
        }
    else:
        what = {"program": subject.name, "program digest": subject.digest}
    return what | {"strategy": quest.strategy, "bound": settings.bound, "mode": settings.mode}
