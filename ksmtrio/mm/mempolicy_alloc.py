# SPDX-License-Identifier: GPL-2.0-or-later
"""NUMA policies, and allocations that follow them.

Kernel: include/linux/mempolicy.h and mm/mempolicy.c, v2.6.33. Apart from mempolicy.py because
page faults need it and mempolicy.py needs page faults' files.

Differs: tasks have no policy of their own (the default one is local allocation, and all CPUs are on
node 0); policies are not rebound when a node gains or loses its memory, as no cpuset restricts one.
Tests: `tests/unit/test_mempolicy_alloc.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from errno import EINVAL, ENOMEM
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.mm_types import MemPolicy, Page, Vma
from ksmtrio.mm.page_alloc import alloc_page, node_has_memory, zonelist
from ksmtrio.units import Nid, Vaddr

MPOL_DEFAULT: Final = 0
MPOL_PREFERRED: Final = 1
MPOL_BIND: Final = 2
MPOL_INTERLEAVE: Final = 3
MPOL_MAX: Final = 4

MPOL_F_RELATIVE_NODES: Final = 1 << 14
MPOL_F_STATIC_NODES: Final = 1 << 15
MPOL_MODE_FLAGS: Final = MPOL_F_RELATIVE_NODES | MPOL_F_STATIC_NODES

MAX_NUMNODES: Final = 64
"""CONFIG_NODES_SHIFT is 6."""

LOCAL_NODE: Final[Nid] = 0
"""numa_node_id() on every CPU."""

_POLICY_TYPES: Final = ("default", "prefer", "bind", "interleave")


async def mpol_new(
    g: Globals, mode: int, mode_flags: int, nodes: Collection[Nid], at: str
) -> tuple[int, MemPolicy | None]:
    """mpol_new(): check mode and mask, and allocate a policy that is not yet usable.

    Kernel: mm/mempolicy.c, v2.6.33. Context: sleeps.

    Returns:
        (0, policy; None for MPOL_DEFAULT, which means to remove one), or (negative errno, None).
    """
    if mode == MPOL_DEFAULT:
        return (-EINVAL if nodes else 0), None
    if mode == MPOL_PREFERRED:
        if not nodes and mode_flags:
            return -EINVAL, None
    elif not nodes:
        return -EINVAL, None
    g.rt.might_sleep(at)
    await g.rt.point(at, "kmem_cache_alloc", None)
    if g.rt.fault("enomem", at):
        return -ENOMEM, None
    return 0, MemPolicy(mode, (), mode_flags)


async def mpol_set_nodemask(
    g: Globals, new: MemPolicy | None, nodes: Collection[Nid], at: str
) -> tuple[int, MemPolicy | None]:
    """mpol_set_nodemask(): finish a policy with those of the nodes that have memory.

    Kernel: mm/mempolicy.c, v2.6.33. Context: mmap_sem held for write.

    Returns:
        (0, finished policy or None), or (-EINVAL, None) when no node is left.
    """
    if new is None or (new.mode == MPOL_PREFERRED and not nodes):
        return 0, new
    with_memory = [nid for nid in sorted(g.zones) if await node_has_memory(g, nid, at)]
    wanted = set(nodes)
    if new.flags & MPOL_F_RELATIVE_NODES and with_memory:
        wanted = {with_memory[nid % len(with_memory)] for nid in nodes}
    usable = tuple(nid for nid in with_memory if nid in wanted)
    if not usable:
        return -EINVAL, None
    return 0, new._replace(nodes=usable[:1] if new.mode == MPOL_PREFERRED else usable)


async def alloc_page_vma(
    g: Globals, vma: Vma | None, address: Vaddr, at: str, *, zero: bool = False
) -> Page | None:
    """alloc_page_vma(GFP_HIGHUSER_MOVABLE): a page for an address, where its vma's policy says.

    Kernel: mm/mempolicy.c, v2.6.33. Context: mmap_sem held; may sleep. Points: as `alloc_page`.

    Args:
        vma: the area; None: the default policy.
        address: bytes; matters to MPOL_INTERLEAVE only.
        at: label of the allocation.
        zero: clear the content.
    """
    policy = None if vma is None else vma.vm_policy
    if vma is None or policy is None:
        return await alloc_page(g, at, zero=zero)
    if policy.mode == MPOL_BIND:
        # The local node's zonelist, filtered by the mask; nowhere else, even if that is full.
        nids = [zone.nid for zone in zonelist(g, LOCAL_NODE) if zone.nid in policy.nodes]
        return await alloc_page(g, at, nids=nids, zero=zero)
    first = LOCAL_NODE
    if policy.mode == MPOL_INTERLEAVE:
        first = policy.nodes[vma.linear_page_index(address) % len(policy.nodes)]
    elif policy.nodes:
        first = policy.nodes[0]
    return await alloc_pages_exact_node(g, first, at, zero=zero)


async def alloc_pages_exact_node(
    g: Globals, nid: Nid, at: str, *, zero: bool = False
) -> Page | None:
    """alloc_pages_exact_node(): from a node or, if that is full, from the nearest that is not.

    Kernel: include/linux/gfp.h, v2.6.33. Points: as `alloc_page`.
    """
    nids = [zone.nid for zone in zonelist(g, nid)]
    return await alloc_page(g, at, nids=nids, zero=zero)


def mpol_to_str(policy: MemPolicy | None) -> str:
    """mpol_to_str(): as numa_maps shows it, for example ``bind=static:0-1``."""
    if policy is None:
        return "default"
    text = _POLICY_TYPES[policy.mode]
    if policy.mode == MPOL_PREFERRED and not policy.nodes:
        text = "local"
    if policy.flags & MPOL_F_STATIC_NODES:
        text += "=static"
    elif policy.flags & MPOL_F_RELATIVE_NODES:
        text += "=relative"
    return f"{text}:{_nodelist(policy.nodes)}" if policy.nodes else text


def _nodelist(nodes: tuple[Nid, ...]) -> str:
    """nodelist_scnprintf(): ranges, as ``0-1,3``."""
    runs: list[list[Nid]] = []
    for nid in nodes:
        if runs and runs[-1][-1] == nid - 1:
            runs[-1].append(nid)
        else:
            runs.append([nid])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
