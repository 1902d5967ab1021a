# SPDX-License-Identifier: GPL-2.0-or-later
"""mbind(2) and migrate_pages(2). Kernel: mm/mempolicy.c, v2.6.33; specification CP CR MB MG DM.

Policies themselves are in mempolicy_alloc.py, /proc/PID/numa_maps is in numa_maps.py. Tests:
`tests/unit/test_mempolicy.py`, `tests/unit/test_migrate_pages.py`.

Differs: every task has CAP_SYS_NICE and may use all nodes, so that nothing answers -EPERM.
"""

from __future__ import annotations

from collections.abc import Collection
from errno import EFAULT, EINVAL, EIO, ENOMEM, ENOSYS, ESRCH
from typing import Final, Protocol

from ksmtrio.errors import NullDereference
from ksmtrio.mm.fork import get_task_mm, mmput
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.memory import vm_normal_page
from ksmtrio.mm.mempolicy_alloc import (
    MAX_NUMNODES,
    MPOL_DEFAULT,
    MPOL_F_RELATIVE_NODES,
    MPOL_F_STATIC_NODES,
    MPOL_MAX,
    MPOL_MODE_FLAGS,
    alloc_page_vma,
    alloc_pages_exact_node,
    mpol_new,
    mpol_set_nodemask,
)
from ksmtrio.mm.migrate import Target, migrate_pages, migrate_prep
from ksmtrio.mm.mm_types import (
    VM_HUGETLB,
    VM_IO,
    VM_PFNMAP,
    VM_RESERVED,
    MemPolicy,
    MmStruct,
    Page,
    Vma,
    page_ksm,
    page_mapcount,
)
from ksmtrio.mm.mmap import find_vma, split_to_range
from ksmtrio.mm.page_alloc import node_has_memory
from ksmtrio.mm.page_flags import PG_RESERVED
from ksmtrio.mm.rmap import page_address_in_vma
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_pages
from ksmtrio.sched.points import Points
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE, PAGES_PER_PTE_TABLE, ULONG_MASK, Nid, Vaddr

MPOL_MF_STRICT: Final = 1
MPOL_MF_MOVE: Final = 2
MPOL_MF_MOVE_ALL: Final = 4
MPOL_MF_DISCONTIG_OK: Final = 8
MPOL_MF_INVERT: Final = 16
MPOL_MF_STATS: Final = 32
_MOVING: Final = MPOL_MF_MOVE | MPOL_MF_MOVE_ALL
_VALID_FLAGS: Final = MPOL_MF_STRICT | _MOVING

TASK_SIZE: Final[Vaddr] = (1 << 47) - PAGE_SIZE

CP = Points(__name__, "check_pte_range", "CP", "1 2 3 3#2 4 5")
CR = Points(__name__, "check_range", "CR", "3")
MB = Points(
    __name__,
    "do_mbind",
    "MB",
    "1 3 3#2 5 6/new_vma_page 6/new_vma_page#2 6/new_vma_page#3 8 "
    "6/page_address_in_vma 6/page_address_in_vma#2 6/page_address_in_vma#3 "
    "6/page_address_in_vma#4",
)
MG = Points(
    __name__,
    "migrate_to_node",
    "MG",
    "1 3/new_node_page 3/new_node_page#2 3/new_node_page#3",
)
DM = Points(__name__, "do_migrate_pages", "DM", "2 5")
SYS_MIGRATE_PAGES = Points(__name__, "sys_migrate_pages", "", "1 2")


class GatherStats(Protocol):
    """What a walk with MPOL_MF_STATS hands its pages to."""

    async def gather_stats(self, page: Page, *, pte_dirty: bool) -> None:
        """Count one mapped page; pte lock held."""


# -- mbind(2) ----------------------------------------------------------------------------------


async def sys_mbind(
    g: Globals,
    mm: MmStruct,
    start: Vaddr,
    length: int,
    mode: int,
    nodes: Collection[Nid],
    flags: int,
) -> int:
    """mbind(2): checks that need nothing but the arguments.

    Kernel: mm/mempolicy.c, sys_mbind() and get_nodes(), v2.6.33.

    Args:
        start: byte address.
        length: bytes, rounded up to pages.
        mode: MPOL_*, with mode flags.
        nodes: numbers of the bits set in the mask.
        flags: MPOL_MF_* bits.

    Returns:
        0 or a negative errno.
    """
    mode_flags = mode & MPOL_MODE_FLAGS
    mode &= ~MPOL_MODE_FLAGS
    if not MPOL_DEFAULT <= mode < MPOL_MAX:
        return -EINVAL
    if mode_flags == MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES:
        return -EINVAL
    if not _get_nodes(nodes):
        return -EINVAL
    return await do_mbind(g, mm, start, length, mode, mode_flags, nodes, flags)


def _get_nodes(nodes: Collection[Nid]) -> bool:
    """get_nodes(): whether the kernel's mask has a bit for each node."""
    return all(0 <= nid < MAX_NUMNODES for nid in nodes)


async def do_mbind(
    g: Globals,
    mm: MmStruct,
    start: Vaddr,
    length: int,
    mode: int,
    mode_flags: int,
    nodes: Collection[Nid],
    flags: int,
) -> int:
    """MB: give a range a policy, and move or check the pages in it.

    Kernel: mm/mempolicy.c, do_mbind(), v2.6.33; specification MB.1-8. Context: sleeps; holds
    mmap_sem for write from the check through the migration.

    Returns:
        0; -EINVAL, -ENOMEM; -ENOSYS to move pages without CONFIG_MIGRATION; -EFAULT where the range
        is not mapped, as `check_range` sees it; -EIO for a page that MPOL_MF_STRICT does not
        forgive.
    """
    if flags & ~_VALID_FLAGS or start % PAGE_SIZE:
        return -EINVAL
    if mode == MPOL_DEFAULT:
        flags &= ~MPOL_MF_STRICT
    start &= ULONG_MASK
    end = (start + ((length + PAGE_SIZE - 1) & -PAGE_SIZE)) & ULONG_MASK
    if end < start:
        return -EINVAL
    if end == start:
        return 0
    err, new = await mpol_new(g, mode, mode_flags, nodes, MB["1"])
    if err:
        return err
    if new is None:
        flags |= MPOL_MF_DISCONTIG_OK
    if flags & _MOVING:
        err = await migrate_prep(g)
        if err:
            return err
    await mm.mmap_sem.down_write(MB["3"])
    err, new = await mpol_set_nodemask(g, new, nodes, MB["3#2"])
    if err == 0:
        pages: list[Page] = []
        err, first = await check_range(g, mm, start, end, nodes, flags | MPOL_MF_INVERT, pages)
        if first is None:
            await putback_lru_pages(g, pages)
        else:
            err = await _apply_and_move(g, mm, start, end, new, flags, pages)
    await mm.mmap_sem.up_write(MB["8"])
    return err


async def _apply_and_move(
    g: Globals,
    mm: MmStruct,
    start: Vaddr,
    end: Vaddr,
    new: MemPolicy | None,
    flags: int,
    pages: list[Page],
) -> int:
    """MB.5-7: set the policy, then migrate what check_range isolated."""
    err = await mbind_range(g, mm, start, end, new)
    nr_failed = 0
    if pages:

        async def new_vma_page(page: Page) -> Target:
            return await _new_vma_page(g, mm, start, page)

        offlining = not g.kernel.numa_callers_pass_zero
        nr_failed = await migrate_pages(g, pages, new_vma_page, offlining=offlining)
    return -EIO if not err and nr_failed and flags & MPOL_MF_STRICT else err


async def mbind_range(
    g: Globals, mm: MmStruct, start: Vaddr, end: Vaddr, new: MemPolicy | None
) -> int:
    """MB.5, mbind_range() and policy_vma(): cut the vmas to the range, set their policy.

    Kernel: mm/mempolicy.c, v2.6.33, which never merges the parts again. Context: mmap_sem held for
    write. Returns 0, or -ENOMEM when a vma could not be split.
    """
    for vma in [v for v in mm.vmas if v.vm_start < end and start < v.vm_end]:
        part = await split_to_range(g, vma, start, end)
        if part is None:
            return -ENOMEM
        await g.rt.point(MB["5"], "policy_vma", None)
        part.vm_policy = new
    return 0


async def _new_vma_page(g: Globals, mm: MmStruct, start: Vaddr, page: Page) -> Target:
    """MB.6, new_vma_page(): a page as the policy of the first vma that may map the old one says.

    A KSM page, which MPOL_MF_MOVE_ALL can have collected before it went KSM, is found in no vma
    that has an anon_vma; without any the default policy counts.
    """
    for vma in mm.vmas:
        if vma.vm_end > start:
            address = await page_address_in_vma(page, vma, MB["6/page_address_in_vma"])
            if address is not None:
                return Target(await alloc_page_vma(g, vma, address, MB["6/new_vma_page"]))
    return Target(await alloc_page_vma(g, None, 0, MB["6/new_vma_page"]))


# -- the walk ----------------------------------------------------------------------------------


def vma_migratable(vma: Vma) -> bool:
    """vma_migratable(). Kernel: include/linux/migrate.h, v2.6.33."""
    return not vma.vm_flags & (VM_IO | VM_HUGETLB | VM_PFNMAP | VM_RESERVED)


async def check_range(
    g: Globals,
    mm: MmStruct,
    start: Vaddr,
    end: Vaddr,
    nodes: Collection[Nid],
    flags: int,
    private: list[Page],
) -> tuple[int, Vma | None]:
    """CR: walk the vmas of a range, isolating or checking misplaced pages.

    Kernel: mm/mempolicy.c, check_range(), v2.6.33. Context: mmap_sem held.

    Steps of CR:
        1. The first vma that ends above `start`; there is none: -EFAULT, DISCONTIG_OK or not.
        2. For this vma and each after it that starts below `end`: unless DISCONTIG_OK, -EFAULT if
           it is the last of all and ends below `end`, or if it does not touch the one before. (So a
           range in a hole below another vma passes, and one that runs into such a hole as well.)
        3. CP over it, if STRICT, or if MOVE or MOVE_ALL and the vma is migratable; never for
           hugetlb. (STRICT with MOVE takes pages from vmas that are not migratable, too.)
        4. CP stopped: -EIO.

    Args:
        private: gets the pages that were isolated.

    Returns:
        (0, the first vma), or (negative errno, None).
    """
    first = find_vma(mm, start)
    if first is None:
        return -EFAULT, None
    previous: Vma | None = None
    vmas = mm.vmas
    for vma in vmas[vmas.index(first) :]:
        if vma.vm_start >= end:
            break
        if not flags & MPOL_MF_DISCONTIG_OK:
            if vma is vmas[-1] and vma.vm_end < end:
                return -EFAULT, None
            if previous is not None and previous.vm_end < vma.vm_start:
                return -EFAULT, None
        wanted = flags & MPOL_MF_STRICT or (flags & _MOVING and vma_migratable(vma))
        if wanted and not vma.vm_flags & VM_HUGETLB:
            await g.rt.point(CR["3"], "check_pgd_range", None)
            low, high = max(vma.vm_start, start), min(vma.vm_end, end)
            if await check_pgd_range(g, vma, low, high, nodes, flags, private):
                return -EIO, None
        previous = vma
    return 0, first


async def check_pgd_range(
    g: Globals,
    vma: Vma,
    start: Vaddr,
    end: Vaddr,
    nodes: Collection[Nid] | None,
    flags: int,
    private: list[Page] | GatherStats,
) -> bool:
    """check_pgd_range(): CP for each page-table page; returns whether one stopped.

    Kernel: mm/mempolicy.c, v2.6.33, with check_pud_range() and check_pmd_range().
    """
    vpn, last = start >> PAGE_SHIFT, end >> PAGE_SHIFT
    while vpn < last:
        stop = min(last, (vpn // PAGES_PER_PTE_TABLE + 1) * PAGES_PER_PTE_TABLE)
        if await check_pte_range(g, vma, vpn, stop, nodes, flags, private):
            return True
        vpn = stop
    return False


async def check_pte_range(
    g: Globals,
    vma: Vma,
    vpn: int,
    stop: int,
    nodes: Collection[Nid] | None,
    flags: int,
    private: list[Page] | GatherStats,
) -> bool:
    """CP: look at each pte of one page-table page under its lock.

    Kernel: mm/mempolicy.c, check_pte_range(), v2.6.33; specification CP.1-5.

    Args:
        vpn, stop: page numbers, half open, within one page-table page.
        nodes: the mask; None stands for the kernel's own mask of nodes with memory.
        private: gets the pages that were isolated, or counts those seen (MPOL_MF_STATS).

    Returns:
        Whether a misplaced page stopped the walk (STRICT without MOVE).
    """
    mm: MmStruct = vma.vm_mm
    ptl = mm.ptl(vpn << PAGE_SHIFT)
    await ptl.lock(CP["1"])
    stopped = False
    for number in list(mm.ptes.irange(vpn, stop, inclusive=(True, False))):
        pte = await mm.ptes[number].read(CP["2"])
        page = vm_normal_page(g, pte) if pte.present else None
        if page is None or await _passed_over(g, page, nodes, flags):
            continue
        if not isinstance(private, list):
            await private.gather_stats(page, pte_dirty=pte.dirty)
        elif flags & _MOVING:
            await migrate_page_add(g, page, private, flags)
        else:
            stopped = True
            break
    ptl.unlock(CP["1"])
    return stopped


async def _passed_over(g: Globals, page: Page, nodes: Collection[Nid] | None, flags: int) -> bool:
    """CP.3-4: pages that nobody may move, and those that are not on the wrong side of the mask."""
    if await page.flags.test(CP["3"], PG_RESERVED):
        return True
    if g.kernel.numa_callers_skip_ksm and await page_ksm(page, CP["3#2"]):
        return True
    isset = page.nid in nodes if nodes is not None else await node_has_memory(g, page.nid, CP["4"])
    if not flags & MPOL_MF_INVERT:
        return not isset
    # test_bit() of a set bit gives -1 there, which compares unequal to the 1 of the INVERT flag.
    return isset and not g.kernel.node_isset_returns_minus_one


async def migrate_page_add(g: Globals, page: Page, pages: list[Page], flags: int) -> None:
    """CP.5, migrate_page_add(): isolate the page unless others map it too."""
    alone = flags & MPOL_MF_MOVE_ALL or await page_mapcount(page, CP["5"]) == 1
    if alone and await isolate_lru_page(g, page) == 0:
        pages.append(page)


# -- migrate_pages(2) --------------------------------------------------------------------------


async def sys_migrate_pages(
    g: Globals, mm: MmStruct, old_nodes: Collection[Nid], new_nodes: Collection[Nid]
) -> int:
    """migrate_pages(2) of the task whose address space `mm` is or was.

    Kernel: mm/mempolicy.c, sys_migrate_pages(), v2.6.33. A user of the address space is held
    meanwhile: should the task exit, the caller tears it down.

    Returns:
        Number of pages that could not be moved; -EINVAL, -ESRCH, -ENOMEM.
    """
    if not (_get_nodes(old_nodes) and _get_nodes(new_nodes)):
        return -EINVAL
    if not await get_task_mm(mm, SYS_MIGRATE_PAGES["1"]):
        return -ESRCH
    err = 0
    for nid in sorted(new_nodes):
        if not await node_has_memory(g, nid, SYS_MIGRATE_PAGES["2"]):
            err = -EINVAL
            break
    if err == 0:
        err = await do_migrate_pages(g, mm, old_nodes, new_nodes, MPOL_MF_MOVE_ALL)
    await mmput(g, mm)
    return err


async def do_migrate_pages(
    g: Globals,
    mm: MmStruct,
    from_nodes: Collection[Nid],
    to_nodes: Collection[Nid],
    flags: int,
) -> int:
    """DM: move an address space from nodes to nodes, each to the one of the same rank.

    Kernel: mm/mempolicy.c, do_migrate_pages(), v2.6.33. Context: sleeps; the caller keeps the
    address space from going away.

    Steps of DM:
        1. migrate_prep.
        2. LOCK mmap_sem for read.
        3. Of the sources still to do, in ascending order and with source and destination
           different: the first whose destination is no source still to do (so that pages do not
           move twice), else the last. None: go to 5.
        4. MG for this pair; a negative result ends it, positive ones add up.
        5. UNLOCK mmap_sem.

    Returns:
        Number of pages that could not be moved, or -ENOMEM.
    """
    if not g.kernel.CONFIG_MIGRATION:
        return -ENOSYS
    await migrate_prep(g)
    await mm.mmap_sem.down_read(DM["2"])
    sources, targets = sorted(set(from_nodes)), sorted(set(to_nodes))
    left = list(sources)
    busy, err = 0, 0
    while (pair := _next_pair(left, sources, targets)) is not None:
        left.remove(pair[0])
        err = await migrate_to_node(g, mm, *pair, flags)
        if err < 0:
            break
        busy += err
    await mm.mmap_sem.up_read(DM["5"])
    return err if err < 0 else busy


def _next_pair(left: list[Nid], sources: list[Nid], targets: list[Nid]) -> tuple[Nid, Nid] | None:
    """DM.3: the next source and its destination, as node_remap() pairs them."""
    pair = None
    for source in left:
        dest = targets[sources.index(source) % len(targets)] if targets else source
        if source == dest:
            continue
        pair = (source, dest)
        if dest not in left:
            break
    return pair


async def migrate_to_node(g: Globals, mm: MmStruct, source: Nid, dest: Nid, flags: int) -> int:
    """MG: move what an address space has on one node to another.

    Kernel: mm/mempolicy.c, migrate_to_node(), v2.6.33. Context: mmap_sem held for read.

    Steps of MG:
        1. Take the start of the first vma; an address space without any is a NULL dereference.
        2. CR from there to the end of user space: pages on `source`, holes allowed. Result ignored.
        3. List not empty: MPg, new pages from `dest` or, if that is full, from elsewhere.

    Returns:
        Number of pages not moved, or -ENOMEM.
    """
    await g.rt.point(MG["1"], "mm->mmap", None)
    if not mm.vmas and g.kernel.migrate_to_node_wants_a_vma:
        return 0
    if not mm.vmas:
        raise NullDereference(MG["1"], "NULL pointer dereference in migrate_to_node: mm->mmap")
    start = mm.vmas[0].vm_start
    pages: list[Page] = []
    await check_range(g, mm, start, TASK_SIZE, (source,), flags | MPOL_MF_DISCONTIG_OK, pages)
    if not pages:
        return 0

    async def new_node_page(_: Page) -> Target:
        return Target(await alloc_pages_exact_node(g, dest, MG["3/new_node_page"]))

    offlining = not g.kernel.numa_callers_pass_zero
    return await migrate_pages(g, pages, new_node_page, offlining=offlining)
