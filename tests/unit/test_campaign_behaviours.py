# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts of behaviours: exact while small, fair samples above, the same in whatever order."""

from __future__ import annotations

import pytest

from ksmtrio.campaign.behaviours import (
    KEPT_MAX,
    SAMPLE,
    SLICES,
    BehaviourCount,
    ClassCount,
    in_sample,
    report,
    saturation,
    sparkline,
    unseen_mass,
    unseen_mass_bound,
)
from ksmtrio.prng import Stream
from ksmtrio.sched.behaviour import Behaviour


def hashes(nr: int, seed: int = 0) -> list[int]:
    """Return that many hashes of 64 bits, all different."""
    stream = Stream(seed, "test")
    return [stream.below(1 << 32) << 32 | number for number in range(nr)]


def counted(classes: list[int]) -> ClassCount:
    """Return the count of executions in these classes, in this order."""
    count = ClassCount()
    for number, hashed in enumerate(classes):
        count.add(hashed, number)
    return count


def test_a_few_classes_are_counted_exactly() -> None:
    count = counted([5, 9, 5, 7, 5])
    assert count.exact
    assert count.executions == 5
    assert count.distinct() == 3
    assert count.seen_once() == 2
    assert count.rows() == [(5, 3, 0), (7, 1, 3), (9, 1, 1)]


def test_adding_says_whether_the_class_is_new() -> None:
    count = ClassCount()
    assert [count.add(hashed, 0) for hashed in (4, 4, 6)] == [True, False, True]


def test_many_classes_are_estimated_from_a_sample_of_bounded_size() -> None:
    classes = hashes(3 * KEPT_MAX)
    once = 20_000
    count = counted(classes + classes + hashes(once, seed=1))
    assert not count.exact
    assert len(count.rows()) == KEPT_MAX
    assert count.distinct() == pytest.approx(3 * KEPT_MAX + once, rel=0.1)
    assert count.seen_once() == pytest.approx(once, rel=0.1)


def test_counts_of_parts_add_up_to_the_same_in_any_order() -> None:
    classes = hashes(3 * KEPT_MAX) + hashes(KEPT_MAX) + hashes(2 * KEPT_MAX, seed=2)
    whole = counted(classes)
    parts = []
    for begin in range(0, len(classes), 1000):
        part = ClassCount()
        for number in range(begin, min(begin + 1000, len(classes))):
            part.add(classes[number], number)
        parts.append(part)
    parts.sort(key=lambda part: part.rows()[0])
    merged = ClassCount()
    for part in parts:
        merged.update(part.executions, part.rows())
    assert merged.rows() == whole.rows()
    assert merged.distinct() == whole.distinct()
    assert merged.executions == whole.executions


def test_unseen_mass_is_the_share_of_executions_that_nothing_else_resembled() -> None:
    assert unseen_mass([counted([1, 1, 2, 3])]) == 0.5
    assert unseen_mass([counted([1, 1]), counted([2, 3])]) == 0.5
    assert unseen_mass([counted([1, 1, 1])]) == 0
    assert unseen_mass([]) is None


def test_unseen_mass_stays_below_its_bound_in_19_of_20_samples() -> None:
    """Classes 0, 1, ... have the probabilities 1/2, 1/4, ..., and a hundred rare ones the rest."""
    broken = 0
    for seed in range(200):
        stream = Stream(seed, "test")
        seen: list[int] = []
        for _ in range(64):
            rare, coin = stream.below(1000) < 100, stream.below(1 << 10)
            seen.append(1000 + stream.below(100) if rare else (coin | 1 << 10).bit_length())
        left = sum(0.1 / 100 for rare in range(1000, 1100) if rare not in seen)
        mass = unseen_mass([counted(seen)])
        bound = unseen_mass_bound(mass, len(seen))
        assert mass is not None
        assert bound is not None
        assert bound >= mass
        broken += left > bound
    assert broken <= 10


def test_bound_of_the_unseen_mass_falls_with_the_square_root_of_executions() -> None:
    few, many = unseen_mass_bound(0.0, 100), unseen_mass_bound(0.0, 10_000)
    assert few is not None
    assert many is not None
    assert few == pytest.approx(10 * many)
    assert unseen_mass_bound(None, 0) is None
    assert unseen_mass_bound(0.9, 3) == 1.0


def test_saturation_says_when_behaviours_were_new() -> None:
    count = counted([1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4] + [1] * 12)
    new = saturation([count], 24)
    assert len(new) == SLICES
    assert sum(new) == 4
    assert new[:2] == [2, 2]
    assert saturation([], 0) == [0]
    assert saturation([counted([1, 2])], 2) == [1, 1]


def test_sparkline_has_a_character_a_value() -> None:
    assert sparkline([9, 0, 1]) == "@ ."
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""


def test_sample_takes_one_seed_in_so_many_of_either_parity() -> None:
    taken = [seed for seed in range(800) if in_sample(seed)]
    assert len(taken) == pytest.approx(800 / SAMPLE, abs=2)
    odd = sum(seed % 2 for seed in taken)
    assert odd == pytest.approx(len(taken) / 2, abs=4)
    assert in_sample(0)
    assert all(in_sample(seed, 1) for seed in range(100))


def test_behaviours_are_counted_by_both_classes_and_together() -> None:
    count, other = BehaviourCount(), BehaviourCount()
    assert count.add(Behaviour(1, 1), 0)
    assert count.add(Behaviour(1, 2), 1)
    assert not count.add(Behaviour(1, 1), 2)
    other.update(count.to_rows())
    told = report([other], 3, 1)
    assert told["looked_at"] == 3
    assert told["distinct"] == 2
    assert told["reads_from"] == 1
    assert told["lock_order"] == 2
    assert told["unseen_mass"] == pytest.approx(1 / 3)
    assert told["new_per_slice"] == [1, 1, 0]
    assert told["exact"] is True
