# SPDX-License-Identifier: GPL-2.0-or-later
"""Actor kinds: programs, presets, answers, and how kinds are found."""

from __future__ import annotations

import pytest

from actors.base import UserTask, errno_name
from actors.ksmd import Ksmd
from actors.operations import ADVICE, FLAGS, OPERATIONS, SIGNALS
from ksmtrio.actor_api import actor_kinds, load_actor_kind
from ksmtrio.base.memory import MEMORY_SYSFS as MEMORY
from ksmtrio.errors import BadInput, ScenarioError
from ksmtrio.kconfig import build_kernel
from ksmtrio.machine import build_machine
from ksmtrio.mm.page_flags import PG_HWPOISON, PG_MLOCKED
from ksmtrio.mm.swap_types import SWAP_HAS_CACHE
from ksmtrio.scenario import OPS, parse_scenario
from ksmtrio.scenario.operations import ADVICES
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies.round_robin import RoundRobin
from tests.kernel_world import KernelWorld, Log, actor, ksm, machine, process, round_robin, vma

MERGED = (ksm(["A:0", "B:0"]), *(process(n, 7, 1, mergeable=True) for n in "AB"))


def run_program(*parts: str, kind: str = "user_task", **keys: object) -> KernelWorld:
    program = keys.pop("program", ())
    assert isinstance(program, tuple)
    return KernelWorld(*parts, actor("task", kind, *program, process="A", **keys)).go()


def test_every_kind_is_found_by_its_name() -> None:
    kinds = actor_kinds()
    assert list(kinds) == sorted(kinds)
    for kind in kinds:
        factory = load_actor_kind(kind)
        assert factory.__doc__
        assert isinstance(factory, type)
    assert load_actor_kind("ksmd") is Ksmd
    assert load_actor_kind("user_task") is UserTask


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"unknown actor kind 'nobody'; installed kinds: .*ksmd"):
        load_actor_kind("nobody")


def test_every_operation_of_a_scenario_can_be_performed() -> None:
    assert set(OPERATIONS) == set(OPS)


def test_words_of_scenarios_mean_something() -> None:
    assert set(ADVICE) == set(ADVICES)
    assert set(SIGNALS) == {"KILL", "USR1"}
    assert FLAGS["STRICT"] | FLAGS["MOVE"] | FLAGS["MOVE_ALL"] == 7


def test_negative_answers_are_spelled_as_errnos() -> None:
    assert errno_name(-16) == "-EBUSY"
    assert errno_name(0) == "0"
    assert errno_name(1) == "1"


def test_program_runs_in_order_and_again() -> None:
    w = run_program(
        process("A", 1, 2),
        program=({"op": "store", "page": 0, "value": 5}, {"op": "munmap", "page": 1}),
        repeat=2,
    )
    assert w.found == []
    assert w.contents("A") == [5, None]


def test_operation_is_repeated() -> None:
    log = Log()
    load = {"op": "load", "page": 0, "repeat": 3}
    KernelWorld(process("A", 1), actor("task", "user_task", load, process="A"), recorder=log).go()
    contents = [name for at, _, name in log.operations if at == "user.load" and "content" in name]
    assert len(contents) == 3


def test_unexpected_answer_is_a_finding() -> None:
    program = ({"op": "munmap", "page": 0, "expect": "-EINVAL"},)
    assert run_program(process("A", 1), program=program).found == ["contract:unexpected-answer"]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "munmap", "page": 0, "expect": 0},
        {"op": "mmap", "page": 0, "pages": 2, "expect": 0},
        {"op": "mmap", "page": 1, "flags": ["SHARED", "LOCKED"], "expect": 1},
        {"op": "mremap", "page": 1, "to": 0, "expect": 0},
        {"op": "mremap", "page": 0, "pages": 2, "new_pages": 1, "expect": 0},
        {"op": "mlock", "page": 0, "pages": 2, "expect": 0},
        {"op": "munlock", "page": 0, "pages": 2, "expect": 0},
        {"op": "madvise", "page": 0, "advice": "DONTNEED", "expect": 0},
        {"op": "madvise", "page": 0, "advice": "WILLNEED", "expect": "-EBADF"},
        {"op": "pin", "page": 0, "expect": 0},
        {"op": "unpin", "page": 0, "expect": 0},
        {"op": "move_pages", "pages": [0, 1], "node": 1, "expect": ["-ENOENT", 1]},
        {"op": "query_pages", "pages": [0, 1], "expect": ["-ENOENT", 0]},
        {"op": "mbind", "page": 0, "pages": 2, "nodes": [1], "flags": ["STRICT"], "expect": "-EIO"},
        {"op": "madvise", "page": 0, "pages": 2, "advice": "UNMERGEABLE", "expect": 0},
        {"op": "offline", "block": 1, "expect": 0},
        {"op": "online", "block": 1, "expect": "-EINVAL"},
        {"op": "remove_section", "block": 1, "expect": "-EBUSY"},
        {"op": "mbind", "page": 0, "mode": "DEFAULT", "flags": [], "expect": 0},
        {"op": "mbind", "page": 0, "expect": "-EINVAL"},
        {"op": "migrate_pages", "old_nodes": [0], "new_nodes": [1], "expect": 0},
        {"op": "soft_offline", "page": 1, "expect": 0},
        {"op": "numa_maps", "expect": "00100000 default anon=1 dirty=1 N0=1"},
        {"op": "load", "page": 1, "expect": 1},
        {"op": "store", "page": 1, "value": 2, "expect": 0},
        {"op": "kill", "actor": "task", "signal": "USR1", "expect": 0},
        {"op": "reclaim", "pages": 2, "expect": 0},
        {"op": "swapoff", "expect": "-EINVAL"},
        {"op": "sysfs_read", "path": f"{MEMORY}/memory1/state", "expect": "online"},
        {"op": "sysfs_read", "path": f"{MEMORY}/memory2/state", "expect": "-ENOENT"},
        {"op": "sysfs_write", "path": f"{MEMORY}/memory1/state", "text": "offline", "expect": 0},
    ],
    ids=lambda operation: str(operation["op"]),
)
def test_expected_answer_is_no_finding(operation: dict[str, object]) -> None:
    assert run_program(*MERGED, program=(operation,)).found == []


def test_exit_ends_the_process_once_all_its_threads_have() -> None:
    leave = {"op": "exit"}
    both = [actor(name, "user_task", leave, process="A") for name in ("one", "two")]
    w = KernelWorld(process("A", 1), *both).go()
    assert w.found == []
    assert w.mm("A").dead is not None


def test_a_killed_task_exits_before_it_sees_an_answer() -> None:
    kill = actor("killer", "user_task", {"op": "kill", "actor": "victim", "expect": 0})
    program = ({"op": "load", "page": 0, "expect": 99}, {"op": "store", "page": 0, "value": 5})
    w = KernelWorld(process("A", 1), kill, actor("victim", "user_task", *program, process="A")).go()
    assert w.found == []
    assert w.mm("A").dead is not None


def test_a_handled_signal_ends_nothing() -> None:
    kill = {"op": "kill", "actor": "victim", "signal": "USR1"}
    victim = actor("victim", "user_task", {"op": "store", "page": 0, "value": 5}, process="A")
    w = KernelWorld(process("A", 1), actor("killer", "user_task", kill), victim).go()
    assert w.found == []
    assert w.contents("A") == [5]


CHILD = "[[process]]\nname = 'B'\nforked_from = 'A'\nat = 'fork'"


def test_a_child_and_its_threads_begin_when_it_is_forked() -> None:
    log = Log()
    w = KernelWorld(
        process("A", 1, 2),
        CHILD,
        actor("early", "page_faulter", {"op": "store", "page": 0, "value": 8}, process="B"),
        actor("early2", "user_task", {"op": "exit"}, process="B"),
        actor("forker", "forker", {"op": "fork", "child": "B", "expect": 0}, process="A"),
        recorder=log,
        strategy=round_robin(),
    ).go()
    assert w.found == []
    assert (w.contents("A"), w.contents("B")) == ([1, 2], [8, 2])
    assert w.mm("B").mm_users.value == w.mm("B").group.threads.value == 1
    labels = [at for at, _, _ in log.operations]
    assert labels.index("user.store") > labels.index("dup_mmap.4")


def test_an_actor_that_is_never_born_keeps_nobody_waiting() -> None:
    fork = {"op": "fork", "child": "B", "expect": "-ENOMEM"}
    w = KernelWorld(
        process("A", 1),
        CHILD,
        actor("forker", "forker", fork, process="A"),
        actor("child", "page_faulter", process="B"),
        faults=["enomem"],
        choices=Choices([], [], [1]),
    ).go()
    assert w.found == []
    assert w.rt.stop_reason == "done"
    assert [a.state.value for a in w.rt.actors] == ["finished", "unborn"]


OTHERS = "00100000 default anon=2 dirty=2 active=1 N0=2"


def test_calls_may_be_about_another_process() -> None:
    program = (
        {"op": "query_pages", "pages": [1], "target": "A", "expect": [1]},
        {"op": "move_pages", "pages": [1], "node": 0, "target": "A", "expect": [0]},
        {"op": "migrate_pages", "old_nodes": [1], "new_nodes": [0], "target": "A", "expect": 0},
        {"op": "numa_maps", "target": "A", "expect": OTHERS},
        {"op": "numa_maps", "target": "B", "expect": "-ESRCH"},
        {"op": "kill", "actor": "owner"},
    )
    w = KernelWorld(
        process("A", 1, 2, node=1),
        CHILD,
        actor("other", "user_task", *program),
        actor("owner", "user_task", {"op": "fork", "child": "B"}, process="A"),
    ).go()
    assert w.found == []
    assert w.mm("A").dead is not None


def test_nobody_sends_signals_to_who_is_not_born() -> None:
    early = {"op": "kill", "actor": "child", "expect": "-ESRCH"}
    w = KernelWorld(
        process("A", 1),
        CHILD,
        actor("child", "page_faulter", process="B"),
        actor("forker", "forker", early, {"op": "fork", "child": "B"}, process="A"),
    ).go()
    assert w.found == []


def test_forker_breaks_the_sharing_and_its_child_lives() -> None:
    w = run_program(process("A", 1, 2), kind="forker")
    assert w.found == []
    assert w.contents("A") == [1100, 1101]
    assert list(w.machine.processes) == ["A", "task/child#1"]


def test_sysfs_writer_takes_ksm_pages_apart() -> None:
    w = KernelWorld(*MERGED, actor("writer", "sysfs_writer")).go()
    assert w.found == []
    assert w.page("A:0") is not w.page("B:0")
    assert w.ksm.ksm_run.value == 1


def test_mlocker_breaks_sharing_and_leaves_nothing_locked() -> None:
    w = run_program(*MERGED, kind="mlocker")
    assert w.found == []
    assert w.page("A:0") is not w.page("B:0")
    assert not w.page("A:0").flags.has(PG_MLOCKED)


def test_mremapper_moves_its_last_page_over_its_first() -> None:
    w = run_program(process("A", 1, 2), kind="mremapper")
    assert w.found == []
    assert w.contents("A") == [2, None]


def test_pages_may_be_mapped_where_nothing_was() -> None:
    w = run_program(
        process("A", 1) + "\n[[process.vma]]\npages = 2\nmapped = false\n",
        program=(
            {"op": "load", "page": 1, "expect": "-EFAULT"},
            {"op": "mmap", "page": 1, "expect": 1},
            {"op": "store", "page": 1, "value": 5, "expect": 0},
            {"op": "mremap", "page": 0, "to": 2, "expect": 2},
        ),
    )
    assert w.found == []
    assert w.contents("A") == [None, 5, 1]


def test_migrate_pages_caller_comes_back() -> None:
    w = run_program(process("A", 1, 2), kind="migrate_pages_caller")
    assert w.found == []
    assert [w.page(ref).nid for ref in ("A:0", "A:1")] == [0, 0]


def test_swapoff_caller_brings_all_pages_back() -> None:
    w = KernelWorld(
        machine(swap_slots=4),
        process("A", 5, 6, swap="out"),
        actor("task", "swapoff_caller"),
        strategy=round_robin(),
    ).go()
    assert w.found == []
    assert w.contents("A") == [5, 6]


def test_soft_offliner_retires_frames() -> None:
    w = run_program(process("A", 1, 2), kind="soft_offliner")
    assert w.found == []
    assert w.contents("A") == [1, 2]
    assert all(w.g.pages[pfn].flags.has(PG_HWPOISON) for pfn in (0, 1))


def test_page_faulter_touches_every_page() -> None:
    w = run_program(process("A", 1, "-"), kind="page_faulter")
    assert w.found == []
    assert w.contents("A") == [1000, 1001]


def test_madviser_unmerges_and_allows_merging_again() -> None:
    w = run_program(*MERGED, kind="madviser")
    assert w.found == []
    assert w.page("A:0") is not w.page("B:0")
    assert len(w.ksm._mm_list) == 2


def test_hotplug_driver_takes_the_last_block_offline() -> None:
    w = KernelWorld(process("A", 1, node=1), actor("driver", "hotplug_driver")).go()
    assert w.found == []
    assert [block.state.value for block in w.machine.memory_blocks] == ["online", "offline"]


def test_mbind_caller_moves_its_pages_to_the_last_node() -> None:
    w = run_program(process("A", 1, 2), kind="mbind_caller")
    assert w.found == []
    assert [w.page(ref).nid for ref in ("A:0", "A:1")] == [1, 1]


def test_move_pages_caller_moves_its_pages_to_the_last_node() -> None:
    w = run_program(*MERGED, kind="move_pages_caller")
    assert w.found == []
    assert [w.page(ref).nid for ref in ("A:0", "A:1")] == [0, 1]


def test_ksmd_uses_its_budget_and_sleeps() -> None:
    daemon = actor("ksmd", "ksmd")
    w = KernelWorld(ksm(batches=2), process("A", 5, 5, mergeable=True), daemon).go()
    assert w.found == []
    assert w.counters() == (1, 1, 0, 0)
    assert w.rt.actors[0].background


def test_kswapd_uses_its_budget_and_the_device_keeps_up() -> None:
    w = KernelWorld(
        machine(swap_slots=4),
        process("A", 5, 6),
        actor("kswapd", "kswapd", repeat=3),
        strategy=round_robin(),
    ).go()
    assert w.found == []
    assert [w.pte(ref).kind for ref in ("A:0", "A:1")] == ["swap", "swap"]
    assert [actor.name for actor in w.rt.actors] == ["kswapd", "writeback"]


def test_pages_may_be_in_swap_at_the_start() -> None:
    w = KernelWorld(
        machine(swap_slots=4),
        ksm(["A:0", "B:0"]),
        process("A", 5, mergeable=True, swap="cache"),
        process("B", 5, mergeable=True),
        process("C", 6, swap="mapped"),
        process("D", 7, swap="out"),
        actor("task", "user_task"),
    ).go()
    assert w.found == []
    assert [w.pte(ref).kind for ref in ("A:0", "B:0", "C:0", "D:0")] == [
        "swap",
        "swap",
        "present",
        "swap",
    ]
    assert w.g.swap._swap_map[1:] == [SWAP_HAS_CACHE + 2, SWAP_HAS_CACHE, 1, 0]


def test_all_kinds_get_along_when_they_take_turns() -> None:
    threads = ("ksmd", "kswapd", "writeback")
    kinds = [kind for kind in actor_kinds() if kind not in threads]
    for seed in range(10):
        w = KernelWorld(
            machine(pages_per_block=16, swap_slots=8),
            ksm(["A:0", "B:0"], batches=2),
            "\n".join([process("A", 7, 1, 2, mergeable=True), vma(["-"])]),
            process("B", 7, 2, mergeable=True, node=1),
            actor("ksmd", "ksmd"),
            actor("kswapd", "kswapd", repeat=2),
            *(actor(kind, kind, process="AB"[n % 2]) for n, kind in enumerate(kinds)),
            kernel="latest-fixes",
            strategy=round_robin(seed),
        ).go()
        assert set(w.found) <= {"stable_tree:ksm-page-in-unmergeable-vma"}
        assert w.rt.stop_reason == "done"


BARE = """
format = 1
name = "bare"
description = "an actor with nothing to do"
[[process]]
name = "A"
[[actor]]
name = "idle"
kind = "{kind}"
{more}
"""


@pytest.mark.parametrize("kind", ["mbind_caller", "move_pages_caller", "page_faulter", "madviser"])
@pytest.mark.parametrize("more", ["", 'process = "A"'])
def test_a_preset_without_program_and_pages_is_bad_input(kind: str, more: str) -> None:
    scenario = parse_scenario(BARE.format(kind=kind, more=more), "bare")
    with pytest.raises(ScenarioError, match="a process with at least one page"):
        build_machine(scenario, build_kernel(), RoundRobin(0))


@pytest.mark.parametrize("more", ['process = "A"', "repeat = 2", "program = [{ op = 'exit' }]"])
def test_ksmd_takes_no_program(more: str) -> None:
    process = "" if "process" in more else 'process = "A"\n' if "program" in more else ""
    scenario = parse_scenario(BARE.format(kind="ksmd", more=process + more), "bare")
    with pytest.raises(ScenarioError, match="ksmd, which takes no"):
        build_machine(scenario, build_kernel(), RoundRobin(0))
