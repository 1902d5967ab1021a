# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds a Machine from a Scenario and a Kernel; wires the parts, decides nothing.

Tests: `tests/unit/test_machine.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ksmtrio.actor_api import Actor, load_actor_kind
from ksmtrio.base.drivers import register_driver
from ksmtrio.base.memory import MemoryBlock, memory_dev_init
from ksmtrio.kconfig import Kernel
from ksmtrio.locking.mutex import Mutex
from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_init import ksm_init
from ksmtrio.mm.ksm_types import RmapItem
from ksmtrio.mm.mempolicy_alloc import mpol_to_str
from ksmtrio.mm.mm_types import MmStruct, Page, Watchers
from ksmtrio.mm.mmzone import Zone
from ksmtrio.mm.page_flags import flag_names
from ksmtrio.mm.signal import tell_life
from ksmtrio.mm.swap import lru_add_drain_all
from ksmtrio.mm.vmscan_reclaim import try_to_free_pages
from ksmtrio.scenario.schema import ActorSpec, Scenario
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.hosts import HOST_DEFAULT, make_host
from ksmtrio.sched.points import Points
from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.strategies.base import Strategy
from ksmtrio.sched.tap import READ, WRITE, Tap
from ksmtrio.start_state import StartState
from ksmtrio.units import Vaddr

QUIESCE = Points(__name__, "quiesce", "", "1 1/pagevec_lru_add 1/pagevec_lru_add#2 1/release_pages")
BIRTH = Points(__name__, "wake_up_new_task", "", "1")


class Machine:
    """One emulated machine with its actors, in its start state.

    Attributes:
        scenario: what it was built from.
        rt: the scheduler.
        g: the kernel's global variables.
        processes: process name -> address space.
        addresses: process name -> byte address of each of its pages.
        memory_blocks: by number.
        actors: in the scenario's order.
    """

    def __init__(self, scenario: Scenario, rt: Runtime, g: Globals) -> None:
        self.scenario = scenario
        self.rt = rt
        self.g = g
        state = StartState(g, scenario)
        self.processes: dict[str, MmStruct] = state.build()
        self.addresses: dict[str, list[Vaddr]] = state.addresses
        self.memory_blocks = [MemoryBlock(rt, s, g.watchers) for s in g.sections]
        memory_dev_init(g, self.memory_blocks)
        self.actors: list[Actor] = []
        self._unborn: dict[str, list[ActorState]] = {
            spec.name: [] for spec in scenario.processes if spec.at == "fork"
        }

    def add_actor(self, spec: ActorSpec) -> None:
        """Build an actor; one of a process that is born by fork waits for its birth."""
        actor = load_actor_kind(spec.kind)(self, spec)
        cpu = len(self.actors) % len(self.g.per_cpu) if spec.cpu is None else spec.cpu
        waiting = self._unborn.get(spec.process or "")
        state = self.rt.add_actor(
            spec.name, cpu=cpu, background=actor.background, born=waiting is None
        )
        self.actors.append(actor)
        if waiting is not None:
            waiting.append(state)

    def give_birth(self, name: str, mm: MmStruct) -> None:
        """Let a process that was just forked begin, with all its threads.

        Kernel: kernel/fork.c, wake_up_new_task() and clone(CLONE_VM), v2.6.33.

        Steps:
            1. The child's threads become users of its address space, and run.
        """
        self.processes[name] = mm
        if self.rt.recorder is not None:
            self.rt.recorder.aside(f"process {name}", WRITE)
        threads = self._unborn.get(name, [])
        if len(threads) > 1:
            users = mm.mm_users.read_in_step(BIRTH["1"]) + len(threads) - 1
            mm.mm_users.write_in_step(BIRTH["1"], users)
            mm.group.threads.write_in_step(BIRTH["1"], len(threads))
        for thread in threads:
            tell_life(self.g, thread.name, WRITE)
            self.rt.give_birth(thread)

    def find_process(self, name: str) -> MmStruct | None:
        """find_task_by_vpid(): return a process's address space, or None before its birth."""
        if self.rt.recorder is not None:
            self.rt.recorder.aside(f"process {name}", READ)
        return self.processes.get(name)

    async def run(self) -> None:
        """Run all actors to the end of the execution, then bring the machine to rest.

        Raises:
            EmulatorError, ReplayDiverged: see `Runtime.run`.
        """
        await self.rt.run([actor.run for actor in self.actors])
        if self.rt.stop_reason == "done":
            await self._quiesce()

    async def _quiesce(self) -> None:
        """Drain all pagevecs, with nobody else running; then look at what the scenario expects."""
        self.rt.current = ActorState(len(self.rt.actors), "quiesce", 0)
        try:
            await lru_add_drain_all(self.g, QUIESCE["1"])
        finally:
            self.rt.current = None
        self._check_end()

    def _check_end(self) -> None:
        end, ksm = self.scenario.end, self.g.ksm
        counters = {
            "pages_shared": ksm.ksm_pages_shared,
            "pages_sharing": ksm.ksm_pages_sharing,
            "pages_unshared": ksm.ksm_pages_unshared,
        }
        for name, expected in end.counters.items():
            seen = counters[name].value
            if seen != expected:
                self._unexpected(f"{name} is {seen}, the scenario expects {expected}")
        for ref, expected in end.contents.items():
            process, _, number = ref.partition(":")
            if process not in self.processes:
                self._unexpected(f"process {process} was never born")
                continue
            pte = self.processes[process].pte(self.addresses[process][int(number)]).value
            page = self.g.pages.get(pte.pfn) if pte.present else None
            halves = (0, 0) if page is None else tuple(h.value for h in page.content)
            if halves != (expected, expected):
                self._unexpected(f"page {ref} holds {halves}, the scenario expects {expected}")

    def _unexpected(self, message: str) -> None:
        self.rt.notice("unexpected-end", None, QUIESCE["1"], message)

    def dump(self) -> dict[str, Any]:
        """Return the final state as JSON-able data with names instead of objects."""
        g, ksm = self.g, self.g.ksm
        slots = {
            slot.name: [_describe_item(item) for item in slot.rmap_list.value]
            for slot in ksm._mm_list
        }
        return {
            "pages": [_describe_page(page) for page in g.pages.values()],
            "mms": {name: _describe_mm(mm) for name, mm in self.processes.items()},
            "stable_tree": [
                [n.name, _pfn(n.kpfn.value), [i.name for i in n._hlist]] for n in ksm._stable_root
            ],
            "unstable_tree": [item.name for item in ksm._unstable_root],
            "mm_slots": slots,
            "cursor": [ksm.cursor._mm_slot.name, ksm.cursor._address, ksm.cursor._rmap_list],
            "counters": {
                "pages_shared": ksm.ksm_pages_shared.value,
                "pages_sharing": ksm.ksm_pages_sharing.value,
                "pages_unshared": ksm.ksm_pages_unshared.value,
                "rmap_items": ksm.ksm_rmap_items.value,
                "full_scans": ksm.cursor.seqnr.value,
            },
            "knobs": [
                ksm.ksm_run.value,
                ksm.ksm_thread_pages_to_scan.value,
                ksm.ksm_thread_sleep_millisecs.value,
            ],
            "signals": {name: task.pending.value for name, task in sorted(g.tasks.items())},
            "blocks": {
                block.name: [block.state.value, [m.value for m in block.section.migratetypes]]
                for block in self.memory_blocks
            },
            "per_cpu": [
                [
                    [p.pfn for pages in cpu._lru_add.values() for p in pages],
                    [p.pfn for p in cpu._pcp],
                ]
                for cpu in g.per_cpu
            ],
            "zones": {zone.name: _describe_zone(zone) for zone in g.zones.values()},
            "swap": _describe_swap(g),
            "pipes": [
                [b.mm.label, b.address, b.page.pfn]
                for b in sorted(g.pipe_buffers, key=lambda b: b.mm.label)
            ],
            "jiffies": self.rt.clock.jiffies,
            "actors": {actor.name: [actor.state.value, actor.at] for actor in self.rt.actors},
        }


def _describe_swap(g: Globals) -> dict[str, Any]:
    swap = g.swap
    cached = {entry: slot.value for entry, slot in sorted(g.swapper_space.slots.items())}
    return {
        "map": swap._swap_map[1:],
        "cache": {str(entry): page.pfn for entry, page in cached.items() if page is not None},
        "disk": [[half.value for half in halves] for halves in swap.disk[1:]],
        "mmlist": [mm.label for mm in swap._mmlist],
        "rings": [[mm.label for mm in ring] for ring in swap._mmlist_rings],
        "free": [swap._writeok, swap.nr_swap_pages.value, swap.total_swap_pages.value],
        "queue": [[bio.page.pfn, bio.entry, bio.write] for bio in swap.bios],
    }


def _describe_zone(zone: Zone) -> dict[str, Any]:
    return {
        "lru": {name: [page.pfn for page in pages] for name, pages in zone._lru_list.items()},
        "free": {str(t): [page.pfn for page in pages] for t, pages in zone._free_list.items()},
    }


def _pfn(ref: int | Page) -> int:
    return ref.pfn if isinstance(ref, Page) else ref


def _describe_page(page: Page) -> list[Any]:
    return [
        page.pfn,
        flag_names(page.flags.value),
        page.count.value,
        page.mapcount.value,
        None if page.mapping.value is None else str(page.mapping.value),
        page.index.value,
        page.private.value,
        [half.value for half in page.content],
        page.dead is not None,
    ]


def _describe_mm(mm: MmStruct) -> dict[str, Any]:
    return {
        "users": mm.mm_users.value,
        "threads": mm.group.threads.value,
        "flags": mm.flags.value,
        "count": mm.mm_count.value,
        "ptes": {
            f"{vpn:#x}": str(cell.value) for vpn, cell in mm.ptes.items() if not cell.value.none
        },
        "vmas": [
            [v.name, v._vm_start, v._vm_end, v._vm_flags, mpol_to_str(v._vm_policy)]
            for v in mm._vmas
        ],
    }


def _describe_item(item: RmapItem) -> list[Any]:
    head = None if item._head is None else item._head.name
    return [item.name, item._address, head, item._oldchecksum]


def build_machine(
    scenario: Scenario,
    kernel: Kernel,
    strategy: Strategy,
    *,
    recorder: Tap | None = None,
    watchers: Watchers | None = None,
    host: str = HOST_DEFAULT,
) -> Machine:
    """Return a machine in its start state.

    Args:
        scenario: validated.
        kernel: which switches are on.
        strategy: takes the choices of this one execution.
        recorder: gets every event; None in stress runs.
        watchers: whom the oracles want told of which writes.
        host: what runs the actors.

    Raises:
        ScenarioError: the start state does not fit into the machine.
        BadInput: an actor kind is not installed.
    """
    rt = Runtime(
        strategy,
        make_host(host),
        points_max=scenario.machine.points_max,
        recorder=recorder,
        faults=frozenset(scenario.faults),
    )
    g = Globals(
        rt,
        kernel,
        watchers=watchers or {},
        pagevecs=scenario.machine.pagevecs,
        offline_timeout_jiffies=scenario.machine.offline_timeout_jiffies,
        swap_slots=scenario.machine.swap_slots,
    )
    g.direct_reclaim = partial(try_to_free_pages, g)
    if scenario.machine.hibernation:
        g.pm_mutex = Mutex(g, "pm_mutex")
    ksm_init(g)
    for spec in scenario.notifiers:
        register_driver(
            g,
            spec.name,
            priority=spec.priority,
            veto=spec.veto,
            veto_errno=spec.errno,
            keeps_lock=spec.lock,
        )
    machine = Machine(scenario, rt, g)
    for actor_spec in scenario.actors:
        machine.add_actor(actor_spec)
    return machine
