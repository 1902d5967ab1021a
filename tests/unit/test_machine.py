# SPDX-License-Identifier: GPL-2.0-or-later
"""Start states: what each preset sets up, and that every one is sound."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from ksmtrio.errors import ScenarioError
from ksmtrio.kconfig import build_kernel
from ksmtrio.machine import build_machine
from ksmtrio.mm.globals import Globals, PipeBuffer
from ksmtrio.mm.ksm_types import STABLE_FLAG
from ksmtrio.mm.mempolicy_alloc import MPOL_BIND, MemPolicy
from ksmtrio.mm.mm_types import MMF_VM_MERGEABLE, VM_MERGEABLE, Pte, Watchers
from ksmtrio.mm.mmzone import LRU_ACTIVE_ANON, MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from ksmtrio.mm.page_flags import PG_LRU
from ksmtrio.mm.swap_types import Bio
from ksmtrio.oracles.base import Findings
from ksmtrio.oracles.registry import make_oracles
from ksmtrio.scenario import parse_scenario
from ksmtrio.scenario.load import builtin_names, load_scenario
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies.replay import Replay
from ksmtrio.trace.digest import digest_of
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import KernelWorld, actor, ksm, machine, process, vma

PRESETS = {
    "nothing": (),
    "untouched": (process("A", "-", "-", mergeable=True),),
    "ordinary": (process("A", 1, 2),),
    "two areas": ("\n".join([process("A", 1, 2), vma([3], mergeable=True)]),),
    "read-only": (process("A", 1, 2, pte="ro", mergeable=True),),
    "checksum": (process("A", 1, 2, mergeable=True, checksum=True),),
    "merged": (ksm(["A:0", "A:2"]), process("A", 7, 1, 7, mergeable=True)),
    "merged with checksum": (
        ksm(["A:0", "B:0"]),
        process("A", 7, 1, mergeable=True, checksum=True),
        process("B", 7, 2, mergeable=True, checksum=True, pte="ro"),
    ),
    "merged alone": (ksm(["A:0"]), process("A", 7, mergeable=True)),
    "two groups": (
        ksm(["A:0", "B:0"], ["B:1", "A:1"]),
        process("A", 9, 3, mergeable=True, node=1),
        process("B", 9, 3, mergeable=True, node=0),
    ),
    "cursor": (ksm(cursor="A:1"), process("A", 1, 2, mergeable=True, checksum=True)),
    "block": (machine(blocks_per_node=2), process("A", 1, 2, block=3)),
    "node": (process("A", 1, 2, node=1),),
    "unmovable": (machine(movable_blocks=[1]), process("A", 1, 2)),
    "small pageblocks": (machine(pages_per_pageblock=2), process("A", 1)),
}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("without", [(), ("stable_node_by_pfn",)])
def test_every_preset_is_sound(name: str, without: tuple[str, ...]) -> None:
    assert KernelWorld(*PRESETS[name], without=without).judge() == []


@pytest.mark.parametrize("name", builtin_names())
def test_start_state_of_every_built_in_scenario_is_sound(name: str) -> None:
    oracles = make_oracles()
    watchers: Watchers = {}
    for oracle in oracles:
        for field, told in oracle.watchers().items():
            watchers[field] = watchers.get(field, ()) + told
    built = build_machine(
        load_scenario(name), build_kernel(), Replay(Choices(), exact=False), watchers=watchers
    )
    findings = Findings(built.rt)
    for oracle in oracles:
        oracle.attach(built, findings)
    for oracle in oracles:
        oracle.quiescent()
    assert findings.all() == []


def test_merged_pages_share_the_frame_of_the_first() -> None:
    w = KernelWorld(*PRESETS["merged"])
    page = w.page("A:0")
    assert w.page("A:2") is page
    assert w.pte("A:0") == w.pte("A:2") == Pte("present", page.pfn, young=True)
    assert (page.count.value, page.mapcount.value) == (2, 1)
    assert w.node("A:0").kpfn.value == page.pfn
    assert w.counters() == (1, 1, 0, 0)
    for ref in ("A:0", "A:2"):
        item = w.item(ref)
        assert item._address == w.address(ref) | STABLE_FLAG
        assert item._head is w.node("A:0")
        assert item._anon_vma is w.vma(ref).anon_vma.value
    anon_vma = w.vma("A:0").anon_vma.value
    assert anon_vma is not None
    assert anon_vma.ksm_refcount.value == 2


def test_stable_tree_is_in_order_of_content() -> None:
    w = KernelWorld(*PRESETS["two groups"])
    assert w.ksm._stable_root == [w.node("A:1"), w.node("A:0")]
    assert w.page("A:0").nid == 1
    assert w.page("A:1").nid == 0


def test_merged_page_may_be_alone() -> None:
    assert KernelWorld(*PRESETS["merged alone"]).counters() == (1, 0, 0, 0)


def test_checksum_is_that_of_the_content() -> None:
    w = KernelWorld(*PRESETS["checksum"])
    assert [w.item(ref)._oldchecksum for ref in ("A:0", "A:1")] == [(1, 1), (2, 2)]
    assert w.counters() == (0, 0, 0, 2)


def test_read_only_pages_are_mapped_without_write_permission() -> None:
    w = KernelWorld(*PRESETS["read-only"])
    assert not w.pte("A:0").write
    assert KernelWorld(*PRESETS["ordinary"]).pte("A:0").write


def test_cursor_stands_at_its_page_with_the_items_before_it_behind() -> None:
    w = KernelWorld(*PRESETS["cursor"])
    cursor = w.ksm.cursor
    assert cursor._mm_slot.mm is w.mm("A")
    assert cursor._address == w.address("A:1")
    assert cursor._rmap_list == 1


def test_scan_begins_before_the_first_process_without_a_cursor() -> None:
    assert KernelWorld(*PRESETS["merged"]).ksm.cursor._address == 0


def test_cursor_in_a_process_that_is_not_registered_is_an_error() -> None:
    with pytest.raises(ScenarioError, match="no mergeable vma"):
        KernelWorld(ksm(cursor="A:0"), process("A", 1))


def test_pages_lie_in_their_block_or_on_their_node() -> None:
    assert KernelWorld(*PRESETS["block"]).frames("A") == [24, 25]
    assert KernelWorld(*PRESETS["node"]).frames("A") == [8, 9]
    assert KernelWorld(*PRESETS["ordinary"]).frames("A") == [0, 1]


def test_touched_pages_are_on_the_lru_and_the_rest_is_free() -> None:
    w = KernelWorld(*PRESETS["ordinary"])
    assert w.page("A:0").flags.has(PG_LRU)
    free = [page.pfn for page in w.g.zones[0]._free_list[MIGRATE_MOVABLE]]
    assert free == [7, 6, 5, 4, 3, 2]


def test_blocks_that_are_not_movable_are_unmovable() -> None:
    w = KernelWorld(*PRESETS["unmovable"])
    types = [section.migratetypes[0].value for section in w.g.sections]
    assert types == [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE]
    assert len(KernelWorld(*PRESETS["small pageblocks"]).g.sections[0].migratetypes) == 4


def test_mergeable_area_registers_its_process() -> None:
    w = KernelWorld(*PRESETS["two areas"])
    assert w.mm("A").flags.has(MMF_VM_MERGEABLE)
    assert w.mm("A").mm_count.value == 2
    assert not w.vma("A:0")._vm_flags & VM_MERGEABLE
    assert w.vma("A:2")._vm_flags & VM_MERGEABLE
    assert not w.ksm.list_empty.value


def test_area_that_was_never_written_has_no_anon_vma() -> None:
    assert KernelWorld(*PRESETS["untouched"]).vma("A:0").anon_vma.value is None


def test_areas_lie_apart() -> None:
    w = KernelWorld(*PRESETS["two areas"])
    assert w.address("A:1") == w.address("A:0") + PAGE_SIZE
    assert w.address("A:2") > w.address("A:1") + PAGE_SIZE


def test_every_actor_of_a_process_is_one_of_its_users() -> None:
    parts = (actor("one", "user_task", process="A"), actor("two", "user_task", process="A"))
    w = KernelWorld(process("A", 1), process("B", 2), *parts)
    assert w.mm("A").mm_users.value == 2
    assert w.mm("B").mm_users.value == 1
    assert [state.cpu for state in w.rt.actors] == [0, 1]


def test_knobs_are_those_of_the_scenario() -> None:
    w = KernelWorld(ksm(run=0, pages_to_scan=5, sleep_millisecs=7))
    assert w.ksm.ksm_run.value == 0
    assert w.ksm.ksm_thread_pages_to_scan.value == 5
    assert w.ksm.ksm_thread_sleep_millisecs.value == 7


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.swap.bios.append(Bio(g.pages[0], 1, write=True)),
        lambda g: setattr(g.swap.nr_swap_pages, "value", 0),
        lambda g: setattr(g.swap, "_mmlist_rings", ((g.processes[0], g.processes[0]),)),
        lambda g: g.pipe_buffers.append(PipeBuffer(g.processes[0], 0, g.pages[0])),
        lambda g: g.zones[0]._lru_list[LRU_ACTIVE_ANON].reverse(),
        lambda g: setattr(g.processes[0].group.threads, "value", 5),
        lambda g: setattr(g.processes[0]._vmas[0], "_vm_policy", MemPolicy(MPOL_BIND, (1,))),
    ],
)
def test_what_execution_has_changed_shows_in_the_dump(change: Callable[[Globals], object]) -> None:
    w = KernelWorld(machine(swap_slots=2), process("A", 1, 2))
    before = digest_of(w.machine.dump())
    change(w.g)
    assert digest_of(w.machine.dump()) != before


def test_two_machines_of_one_scenario_are_equal() -> None:
    first, second = (KernelWorld(*PRESETS["two groups"]).machine.dump() for _ in range(2))
    assert first == second
    assert digest_of(first) == digest_of(second)


def test_expectations_about_the_end_are_checked() -> None:
    end = '[end]\ncounters = { pages_shared = 1 }\ncontents = { "A:0" = 3 }'

    def ended(value: int) -> list[str]:
        seen: list[str] = []
        text = "\n".join(
            [
                'format = 1\nname = "unit"',
                ksm(["A:0", "A:1"]),
                process("A", value, value, mergeable=True),
                actor("idle", "user_task"),
                end,
            ]
        )
        built = build_machine(
            parse_scenario(text, "unit"), build_kernel(), Replay(Choices(), exact=False)
        )
        built.rt.listeners.append(lambda kind, *_: seen.append(kind))
        trio.run(built.run)
        return seen

    assert ended(3) == []
    assert ended(4) == ["unexpected-end"]
