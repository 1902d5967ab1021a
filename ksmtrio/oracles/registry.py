# SPDX-License-Identifier: GPL-2.0-or-later
"""All oracles by name, in the fixed order in which they look.

Tests: `tests/unit/test_oracles_registry.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ksmtrio.oracles.bugs import AssertionOracle, BugsOracle
from ksmtrio.oracles.contents import ContentsOracle
from ksmtrio.oracles.contract import ContractOracle
from ksmtrio.oracles.frames import FramesOracle
from ksmtrio.oracles.locks import LocksOracle
from ksmtrio.oracles.page_state import PageStateOracle
from ksmtrio.oracles.progress import ProgressOracle, StuckOracle
from ksmtrio.oracles.rmap import RmapOracle
from ksmtrio.oracles.slab import SlabOracle
from ksmtrio.oracles.stable_tree import StableTreeOracle

if TYPE_CHECKING:
    from ksmtrio.oracles.base import Oracle
    from ksmtrio.oracles.notices import NoticeOracle

ORACLES: Final[dict[str, type[Oracle]]] = {
    "contents": ContentsOracle,
    "stable_tree": StableTreeOracle,
    "frames": FramesOracle,
    "slab": SlabOracle,
    "page_state": PageStateOracle,
    "rmap": RmapOracle,
    "locks": LocksOracle,
    "bugs": BugsOracle,
    "progress": ProgressOracle,
    "contract": ContractOracle,
}
"""Oracle name -> class. stable_tree looks before frames, whose findings end the execution."""


def make_oracles() -> list[Oracle]:
    """Return a fresh set for one execution."""
    return [make() for make in ORACLES.values()]


def make_program_oracles() -> list[NoticeOracle]:
    """Return a fresh set for one execution of a program that is no kernel.

    Deadlocks that no execution ran into are not predicted there: a program is taken as it is.
    """
    return [SlabOracle(), LocksOracle(), BugsOracle(), AssertionOracle(), StuckOracle()]
