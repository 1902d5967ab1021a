# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies and the allocations that follow them: mm/mempolicy_alloc.py."""

from __future__ import annotations

from errno import EINVAL, ENOMEM

import pytest

from ksmtrio.mm.mempolicy_alloc import (
    MPOL_BIND,
    MPOL_DEFAULT,
    MPOL_F_RELATIVE_NODES,
    MPOL_F_STATIC_NODES,
    MPOL_INTERLEAVE,
    MPOL_PREFERRED,
    alloc_page_vma,
    alloc_pages_exact_node,
    mpol_new,
    mpol_set_nodemask,
    mpol_to_str,
)
from ksmtrio.mm.mm_types import MemPolicy
from ksmtrio.mm.swap import put_page
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, Shot, machine, process, run

THREE = machine(nodes=3, pages_per_block=16)


def nodes_of(w: KernelWorld, name: str) -> str:
    """Return where the pages of a process are."""
    shot = w.shot(name)
    assert isinstance(shot, Shot)
    return shot.node


async def touched(w: KernelWorld, policy: MemPolicy | None, pages: int) -> str:
    """Give A a policy, write its pages, and return where they came from."""
    w.vma("A:0")._vm_policy = policy
    for number in range(pages):
        assert await w.store(f"A:{number}", number + 1) == 0
    return nodes_of(w, "A")


@pytest.mark.parametrize(
    ("policy", "nodes"),
    [
        (None, "0000"),
        (MemPolicy(MPOL_PREFERRED, ()), "0000"),
        (MemPolicy(MPOL_PREFERRED, (2,)), "2222"),
        (MemPolicy(MPOL_BIND, (1, 2)), "1111"),
        (MemPolicy(MPOL_BIND, (0, 2)), "0000"),
        (MemPolicy(MPOL_INTERLEAVE, (0, 2)), "0202"),
        (MemPolicy(MPOL_INTERLEAVE, (1,)), "1111"),
    ],
)
def test_faults_follow_the_policy_of_the_area(policy: MemPolicy | None, nodes: str) -> None:
    async def body(w: KernelWorld) -> None:
        assert w.vma("A:0")._vm_pgoff % 2 == 0
        assert await touched(w, policy, 4) == nodes

    run(body, THREE, process("A", "-", "-", "-", "-"))


def test_copies_on_write_follow_the_policy_too() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.mbind("A:0", 1, node=1, flags=0) == 0
        assert await w.store("A:0", 2) == 0
        assert (nodes_of(w, "A"), nodes_of(w, "B")) == ("1", "0")

    run(body, process("A", 1), '[[process]]\nname = "B"\nforked_from = "A"')


def test_bound_area_gets_nothing_where_its_nodes_are_full_and_others_fall_back() -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("A:0")._vm_policy = MemPolicy(MPOL_BIND, (1,))
        assert await w.store("A:0", 1) == -ENOMEM
        for policy in (MemPolicy(MPOL_PREFERRED, (1,)), MemPolicy(MPOL_INTERLEAVE, (1,))):
            w.vma("A:0")._vm_policy = policy
            assert await w.store("A:0", 1) == 0
            assert nodes_of(w, "A") == "0"
            assert await w.munmap("A:0", 1) == 0
            break

    run(body, machine(pages_per_block=2), process("A", "-"), process("B", 1, 2, node=1))


def test_node_that_lost_its_memory_still_counts_for_interleaving() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        assert await touched(w, MemPolicy(MPOL_INTERLEAVE, (0, 1)), 4) == "0000"

    run(body, process("A", "-", "-", "-", "-"))


def test_without_an_area_the_default_policy_counts() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page_vma(w.g, None, 0, AT)
        other = await alloc_pages_exact_node(w.g, 1, AT, zero=True)
        assert page is not None
        assert other is not None
        assert (page.nid, other.nid) == (0, 1)
        for taken in (page, other):
            await put_page(w.g, taken, AT)

    run(body, process("A", 1))


@pytest.mark.parametrize(
    ("mode", "flags", "nodes", "answer"),
    [
        (MPOL_DEFAULT, 0, (), (0, None)),
        (MPOL_DEFAULT, 0, (1,), (-EINVAL, None)),
        (MPOL_PREFERRED, 0, (), (0, MemPolicy(MPOL_PREFERRED, ()))),
        (MPOL_PREFERRED, MPOL_F_RELATIVE_NODES, (), (-EINVAL, None)),
        (MPOL_PREFERRED, 0, (2, 1), (0, MemPolicy(MPOL_PREFERRED, (1,)))),
        (MPOL_BIND, 0, (), (-EINVAL, None)),
        (MPOL_BIND, 0, (2, 6, 1), (0, MemPolicy(MPOL_BIND, (1, 2)))),
        (MPOL_BIND, 0, (6,), (-EINVAL, None)),
        (MPOL_INTERLEAVE, 0, (0, 2), (0, MemPolicy(MPOL_INTERLEAVE, (0, 2)))),
        (
            MPOL_BIND,
            MPOL_F_STATIC_NODES,
            (1,),
            (0, MemPolicy(MPOL_BIND, (1,), MPOL_F_STATIC_NODES)),
        ),
        (
            MPOL_BIND,
            MPOL_F_RELATIVE_NODES,
            (1, 5),
            (0, MemPolicy(MPOL_BIND, (1, 2), MPOL_F_RELATIVE_NODES)),
        ),
    ],
)
def test_policy_takes_those_of_the_nodes_that_have_memory(
    mode: int, flags: int, nodes: tuple[int, ...], answer: tuple[int, MemPolicy | None]
) -> None:
    async def body(w: KernelWorld) -> None:
        err, new = await mpol_new(w.g, mode, flags, nodes, AT)
        if err == 0:
            err, new = await mpol_set_nodemask(w.g, new, nodes, AT)
        assert (err, new) == answer

    run(body, THREE, process("A", 1))


def test_lack_of_memory_for_a_policy_is_a_fault_choice() -> None:
    async def body(w: KernelWorld) -> None:
        assert await mpol_new(w.g, MPOL_DEFAULT, 0, (), AT) == (0, None)
        assert await mpol_new(w.g, MPOL_BIND, 0, (1,), AT) == (-ENOMEM, None)

    run(body, process("A", 1), faults=["enomem"], choices=Choices(faults=[1]))


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (None, "default"),
        (MemPolicy(MPOL_PREFERRED, ()), "local"),
        (MemPolicy(MPOL_PREFERRED, (1,)), "prefer:1"),
        (MemPolicy(MPOL_BIND, (0, 1, 2, 4)), "bind:0-2,4"),
        (MemPolicy(MPOL_INTERLEAVE, (0, 2), MPOL_F_STATIC_NODES), "interleave=static:0,2"),
        (MemPolicy(MPOL_BIND, (3,), MPOL_F_RELATIVE_NODES), "bind=relative:3"),
    ],
)
def test_policy_as_text(policy: MemPolicy | None, text: str) -> None:
    assert mpol_to_str(policy) == text
    assert PAGE_SIZE == 4096
