# SPDX-License-Identifier: GPL-2.0-or-later
"""Switch `offline_passes_offlining` (hunk 14): offline must be allowed to move KSM pages."""

from __future__ import annotations

import attrs

from ksmtrio.scenario.schema import Scenario
from tests.campaigns import follow, without_actor


def expecting(answer: int | str) -> Scenario:
    """Return an undisturbed offline that is expected to answer so."""
    scenario = without_actor("offline_vs_ksmd", "ksmd")
    actors = tuple(
        attrs.evolve(a, program=(attrs.evolve(a.program[0], expect=answer),))
        if a.name == "hotplug"
        else a
        for a in scenario.actors
    )
    return attrs.evolve(scenario, actors=actors)


def test_with_it_the_block_goes_offline() -> None:
    assert follow(expecting(0)).signatures() == ()


def test_without_it_one_ksm_page_keeps_the_block_online_until_the_timeout() -> None:
    outcome = follow(expecting("-EAGAIN"), without=["offline_passes_offlining"])
    assert outcome.signatures() == ()
