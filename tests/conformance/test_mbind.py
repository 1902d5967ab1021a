# SPDX-License-Identifier: GPL-2.0-or-later
"""What the LTP demands of mbind, in our own words. numa_maps stands for get_mempolicy."""

from __future__ import annotations

from errno import EINVAL, EIO

import pytest

from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, MPOL_MF_STRICT
from ksmtrio.mm.mempolicy_alloc import (
    MPOL_BIND,
    MPOL_DEFAULT,
    MPOL_INTERLEAVE,
    MPOL_PREFERRED,
)
from tests.conformance.world import Bench, run

MPOL_LOCAL = 4
"""A mode of later kernels."""

MODES = {"preferred": MPOL_PREFERRED, "bind": MPOL_BIND, "interleave": MPOL_INTERLEAVE}
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


# LTP mbind01. MPOL_LOCAL is a mode of later kernels, and so an unknown one here.
@pytest.mark.parametrize(
    ("mode", "nodes", "expected", "policy"),
    [
        (MPOL_DEFAULT, (), 0, "default"),
        (MPOL_DEFAULT, (1,), -EINVAL, "default"),
        (MPOL_BIND, (), -EINVAL, "default"),
        (MPOL_BIND, (1,), 0, "bind:1"),
        (MPOL_INTERLEAVE, (), -EINVAL, "default"),
        (MPOL_INTERLEAVE, (1,), 0, "interleave:1"),
        (MPOL_PREFERRED, (), 0, "local"),
        (MPOL_PREFERRED, (1,), 0, "prefer:1"),
        (MPOL_LOCAL, (), -EINVAL, "default"),
        (-1, (), -EINVAL, "default"),
    ],
)
def test_mode_and_nodes_must_fit_and_then_are_the_policy(
    mode: int, nodes: tuple[int, ...], expected: int, policy: str
) -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", None)
        assert (await process.mbind(0, 1, nodes, 0, mode))["ret"] == expected
        assert await process.policy() == policy

    run(program)


# LTP mbind01, its case of invalid flags.
def test_unknown_flags_are_refused() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", None)
        assert (await process.mbind(0, 1, (), -1, MPOL_DEFAULT))["ret"] == -EINVAL

    run(program)


# LTP mbind02.
@modes
def test_strict_refuses_a_page_that_lies_elsewhere(mode: int) -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1)
        assert (await process.mbind(0, 1, (1,), MPOL_MF_STRICT, mode))["ret"] == -EIO
        assert process.nodes() == "0"

    run(program)


# LTP mbind03.
@modes
@pytest.mark.parametrize("flags", [MPOL_MF_MOVE, MPOL_MF_MOVE_ALL], ids=["move", "move_all"])
def test_pages_that_are_there_move_to_the_nodes_of_the_policy(mode: int, flags: int) -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2)
        assert (await process.mbind(0, 2, (1,), flags, mode))["ret"] == 0
        assert process.nodes() == "11"
        assert await b.bad_pages() == 0

    run(program)


# LTP mbind04.
@modes
@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("flags", [0, MPOL_MF_STRICT], ids=["none", "strict"])
def test_later_pages_of_parent_and_child_come_from_the_node(
    mode: int, node: int, flags: int
) -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", *[None] * 8)
        assert (await process.mbind(0, 8, (node,), flags, mode))["ret"] == 0
        child = await process.fork("B")
        for owner in (process, child):
            for index in range(8):
                await owner.write(index, index)
            assert owner.nodes() == str(node) * 8

    run(program)
