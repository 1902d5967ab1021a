# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels: named sets of switches, one switch per idea of the origin patch or later fix.

Options of the kernel's configuration are switches too, on in every named kernel. Turning one off
turns off what depends on it, as ``make oldconfig`` does.

Only `mm/` and `base/` ask a switch, exactly where the source differs, and `start_state.py`, where
such a kernel cannot have come to be in the state that a scenario describes. Nothing that judges
(oracles) or drives (actors) may import this module; import contracts in `pyproject.toml` hold that.
Tests: `tests/unit/test_kconfig.py`; one file a switch of the patch in `tests/races/`; the fixes in
`tests/latent/`; the options in `tests/unit/test_options.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import attrs

from ksmtrio.errors import BadInput

KERNELS: Final[dict[str, str]] = {
    "v2.6.33": "all nine patches of the series, as released",
    "pre-8": "the same without patch 8/9: KSM pages migrate, unguarded",
    "latest-fixes": "v2.6.33 with the later fixes of its defects, and ours where there were none",
}
"""Kernel name -> description."""

DEFAULT: Final = "v2.6.33"

_SINCE_PATCH_8: Final = ("v2.6.33", "latest-fixes")
_SINCE_PATCH_7: Final = tuple(KERNELS)
_AS_RELEASED: Final = ("v2.6.33", "pre-8")
_FIXED: Final = ("latest-fixes",)


def _switch(text: str, *, on_in: Collection[str] = _SINCE_PATCH_8) -> bool:
    """Declare a switch: what it means when on, and the kernels in which it is on."""
    assert set(on_in) <= set(KERNELS)
    return _field(text, on_in, {_FIXED: "fix", _AS_RELEASED: "quirk"}.get(tuple(on_in), "patch"))


def _option(text: str, *, depends_on: str = "") -> bool:
    """Declare an option of the configuration, on in every kernel: what it gives."""
    return _field(text, KERNELS, "option", depends_on)


def _field(text: str, on_in: Collection[str], kind: str, depends_on: str = "") -> bool:
    value: bool = attrs.field(
        default=DEFAULT in on_in,
        metadata={
            "description": text,
            "on_in": frozenset(on_in),
            "kind": kind,
            "depends_on": depends_on,
        },
    )
    return value


@attrs.frozen(kw_only=True)
class Kernel:
    """A kernel to emulate: which ideas of the patch, and which later fixes, are in.

    `name` is how the user asked for it, e.g. ``v2.6.33 --without offline_locks_out_ksm``.
    """

    name: str
    stable_node_by_pfn: bool = _switch("a stable node remembers a pfn, not a page object")
    search_returns_page: bool = _switch(
        "the stable-tree search hands back a pinned page; the node is re-read under the page lock"
    )
    migrate_updates_kpfn: bool = _switch(
        "moving a KSM page rewrites kpfn in its node", on_in=_SINCE_PATCH_7
    )
    offline_locks_out_ksm: bool = _switch(
        "ksm_thread_mutex is held from MEM_GOING_OFFLINE to MEM_OFFLINE or MEM_CANCEL_OFFLINE"
    )
    offline_prunes_stable_tree: bool = _switch(
        "nodes whose pfn went offline are unlinked at MEM_OFFLINE"
    )
    ksm_notifier_first: bool = _switch(
        "the KSM callback has priority 100 (off: 0, so that others run before it)"
    )
    recheck_ksm_under_page_lock: bool = _switch(
        "unmap_and_move refuses a KSM page unless the caller is offlining"
    )
    offline_passes_offlining: bool = _switch("do_migrate_range passes offlining = 1 (off: 0)")
    numa_callers_pass_zero: bool = _switch(
        "mbind, move_pages, migrate_pages pass offlining = 0 (off: 1)"
    )
    ksm_notifier_registered: bool = _switch(
        "the KSM callback is on the memory notifier chain at all"
    )
    numa_callers_skip_ksm: bool = _switch(
        "mbind's pte walk, move_pages and its status query pass over KSM pages"
    )
    node_isset_returns_minus_one: bool = _switch(
        "x86 quirk: test_bit gives -1 for a set bit, so that mbind takes a page on an allowed "
        "node for misplaced",
        on_in=_AS_RELEASED,
    )
    break_ksm_waits_for_migration: bool = _switch(
        "break_ksm waits until a migration entry is gone, then looks again "
        '(2013, "mm,ksm: FOLL_MIGRATION do migration_entry_wait")',
        on_in=_FIXED,
    )
    offline_sets_run_bit: bool = _switch(
        "an offline does not keep ksm_thread_mutex: it sets a bit in ksm_run, for which ksmd and "
        'the run file wait (2013, "ksm: stop hotremove lockdep warning")',
        on_in=_FIXED,
    )
    get_ksm_page_waits_while_frozen: bool = _switch(
        "get_ksm_page waits while a page in the swap cache has its count frozen, and reads kpfn "
        'again before it prunes (2013, "ksm: make KSM page migration possible")',
        on_in=_FIXED,
    )
    scan_compares_nodes: bool = _switch(
        "ksmd passes over a KSM page only if its item hangs on that page's own node "
        '(2013, "ksm: make !merge_across_nodes migration safe")',
        on_in=_FIXED,
    )
    scan_rechecks_mm_list: bool = _switch(
        "a full scan that finds the list head in place of the first slot ends there "
        '(2011, "ksm: fix NULL pointer dereference in scan_get_next_rmap_item()")',
        on_in=_FIXED,
    )
    scan_drops_mmap_sem_first: bool = _switch(
        "ksmd releases an mm's mmap_sem before the lock under which its cursor left that mm "
        '(2016, "ksm: fix conflict between mmput and scan_get_next_rmap_item")',
        on_in=_FIXED,
    )
    scan_drains_pagevecs: bool = _switch(
        "a full scan begins with lru_add_drain_all, so that no pagevec's reference keeps a page "
        'from being merged (2011, "ksm: drain pagevecs to lru")',
        on_in=_FIXED,
    )
    write_protect_cleans_pte: bool = _switch(
        "write_protect_page looks at the count of a page whose pte is dirty, too, and moves the "
        'dirty bit to the page (2010, "ksm: fix bad user data when swapping")',
        on_in=_FIXED,
    )
    merge_wants_mergeable_vma: bool = _switch(
        "try_to_merge_with_ksm_page asks for a VM_MERGEABLE vma with an anon_vma even when the "
        "page is the KSM page itself "
        '(2015, "ksm: use find_mergeable_vma in try_to_merge_with_ksm_page")',
        on_in=_FIXED,
    )
    swapin_rechecks_swap_cache: bool = _switch(
        "do_swap_page looks under the page lock whether the page is still in the swap cache for "
        "its entry, and keeps it locked while ksm_does_need_to_copy copies it "
        '(2010, "mm: fix swapin race condition", "mm: further fix swapin race condition")',
        on_in=_FIXED,
    )
    swapin_copies_once_unmerged: bool = _switch(
        "after run=2 a KSM page comes back from swap as a copy "
        '(2013, "ksm: remove old stable nodes more thoroughly")',
        on_in=_FIXED,
    )
    swapoff_might_copy: bool = _switch(
        "swapoff asks ksm_might_need_to_copy what to map, as a fault does "
        '(2013, "mm,ksm: swapoff might need to copy")',
        on_in=_FIXED,
    )
    migrate_skips_unmapped_anon: bool = _switch(
        "unmap_and_move leaves an unmapped anonymous page alone, and moves one in the swap cache "
        "without walking its anon_vma "
        '(2010, "mm: migration: do not try to migrate unmapped anonymous pages")',
        on_in=_FIXED,
    )
    remove_migration_pte_locks_first: bool = _switch(
        "remove_migration_pte looks at the pte under its lock only "
        '(2011, "mm: fix race between mremap and removing migration entry")',
        on_in=_FIXED,
    )
    fork_lists_only_for_swap: bool = _switch(
        "fork puts a child on swapoff's list for swap entries only, not for migration entries "
        '(2014, "mm: fix swapoff hang after page migration and fork")',
        on_in=_FIXED,
    )
    free_rechecks_migratetype: bool = _switch(
        "a page of an isolated pageblock is freed to the list that its block has under zone->lock "
        '(2014, "mm/page_alloc: fix incorrect isolation behavior by rechecking migratetype")',
        on_in=_FIXED,
    )
    drain_rechecks_migratetype: bool = _switch(
        "a drained per-CPU page goes to the list that its pageblock has now "
        '(2014, "mm/page_alloc: add freepage on isolate pageblock to correct buddy list")',
        on_in=_FIXED,
    )
    isolated_means_buddy: bool = _switch(
        "check_pages_isolated accepts pages on the buddy lists only "
        '(2015, "mm, page_isolation: remove bogus tests for isolated pages")',
        on_in=_FIXED,
    )
    hotplug_has_a_lock: bool = _switch(
        "memory hot-remove, onlining and soft offline exclude each other without hibernation, too "
        '(2010, "mem-hotplug: introduce {un}lock_memory_hotplug()")',
        on_in=_FIXED,
    )
    soft_offline_puts_the_page: bool = _switch(
        "soft offline gives back its reference on a page that stays off the LRU "
        '(2015, "mm/hwpoison: fix page refcount of unknown non LRU page")',
        on_in=_FIXED,
    )
    pages_stat_holds_the_page: bool = _switch(
        "move_pages(2)'s status query holds a reference on the page that it looks at "
        '(2022, "mm/migration: fix possible do_pages_stat_array racing with memory offline")',
        on_in=_FIXED,
    )
    migrate_to_node_wants_a_vma: bool = _switch(
        "migrate_pages(2) has nothing to do in an address space without vmas "
        '(2024, "mm/mempolicy: fix migrate_to_node() assuming there is at least one VMA in a MM")',
        on_in=_FIXED,
    )
    proposed_soft_offline_holds_off_removal: bool = _switch(
        "soft offline looks under the lock of memory hotplug whether the frame has a memmap, and "
        "keeps it to the end; removal of a section takes it, too (ours, not upstream)",
        on_in=_FIXED,
    )
    proposed_enter_looks_under_lock: bool = _switch(
        "__ksm_enter looks under ksm_mmlist_lock whether the list is empty (ours, not upstream)",
        on_in=_FIXED,
    )
    proposed_unstable_tree_lasts_as_long_as_seqnr: bool = _switch(
        "the unstable tree is emptied as seqnr advances, not as the next scan begins "
        "(ours, not upstream)",
        on_in=_FIXED,
    )
    proposed_insert_before_upgrade: bool = _switch(
        "a page gets its stable node as it becomes a KSM page, or does not become one "
        "(ours, not upstream)",
        on_in=_FIXED,
    )
    proposed_swapoff_puts_mms_unlocked: bool = _switch(
        "swapoff drops the address spaces that it searched once their page is unlocked "
        "(ours; upstream rewrote swapoff in 2019)",
        on_in=_FIXED,
    )
    proposed_referenced_looks_once: bool = _switch(
        "page_referenced takes a page whose lock it has not for the kind that it found at first "
        "(ours, not upstream)",
        on_in=_FIXED,
    )
    proposed_items_follow_mappings: bool = _switch(
        "an rmap_item stays, or passes to a fork, while a pte at its address may lead to its KSM "
        "page, and a KSM page comes back from swap only where an item leads to it "
        "(ours, not upstream)",
        on_in=_FIXED,
    )
    CONFIG_KSM: bool = _option("KSM (off: its advice is -EINVAL, there is no ksmd, nothing merges)")
    CONFIG_SYSFS: bool = _option("/sys (off: no files at all, and ksmd runs from the start)")
    CONFIG_MIGRATION: bool = _option(
        "page migration (off: move_pages, migrate_pages, moving mbind and soft offline are -ENOSYS)"
    )
    CONFIG_MEMORY_HOTREMOVE: bool = _option(
        "memory offline (off: -EINVAL; the KSM callback is not registered)",
        depends_on="CONFIG_MIGRATION",
    )
    CONFIG_HIBERNATION: bool = _option(
        "hibernation, where the machine has it (off: there is no pm_mutex for offlines to take)"
    )

    def switches(self) -> dict[str, bool]:
        """Return every switch and whether it is on, in declaration order."""
        return {name: getattr(self, name) for name in SWITCHES}


SWITCHES: Final[dict[str, str]] = {
    field.name: field.metadata["description"] for field in attrs.fields(Kernel) if field.metadata
}
"""Switch name -> what it means when on."""

KINDS: Final[dict[str, str]] = {
    field.name: field.metadata["kind"] for field in attrs.fields(Kernel) if field.metadata
}
"""Switch name -> ``patch``, ``fix``, ``quirk`` or ``option``."""

_DEPENDS_ON: Final[dict[str, str]] = {
    field.name: field.metadata["depends_on"]
    for field in attrs.fields(Kernel)
    if field.metadata and field.metadata["depends_on"]
}

_ON_IN: Final[dict[str, frozenset[str]]] = {
    field.name: field.metadata["on_in"] for field in attrs.fields(Kernel) if field.metadata
}


def build_kernel(
    name: str = DEFAULT, *, with_: Iterable[str] = (), without: Iterable[str] = ()
) -> Kernel:
    """Return the named kernel with single switches turned on or off.

    Args:
        name: key of `KERNELS`.
        with_: switches to turn on.
        without: switches to turn off.

    Raises:
        BadInput: unknown kernel or switch, a switch asked for both ways, or an option asked for
            without what it depends on.
    """
    if name not in KERNELS:
        raise BadInput(f"unknown kernel {name!r}; choose one of: {', '.join(KERNELS)}")
    on, off = list(with_), list(without)
    for switch in [*on, *off]:
        if switch not in SWITCHES:
            raise BadInput(f"unknown switch {switch!r}; choose one of: {', '.join(SWITCHES)}")
    both = sorted(set(on) & set(off))
    if both:
        raise BadInput(f"switch {both[0]!r} is both in --with and in --without")
    states = {switch: name in kernels for switch, kernels in _ON_IN.items()}
    states.update(dict.fromkeys(on, True))
    states.update(dict.fromkeys(off, False))
    for option, needed in _DEPENDS_ON.items():
        if not states[needed]:
            if option in on:
                raise BadInput(f"{option} depends on {needed}, which is off")
            states[option] = False
    title = "".join([name, *(f" --with {s}" for s in on), *(f" --without {s}" for s in off)])
    return Kernel(name=title, **states)
