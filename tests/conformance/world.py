# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulated counterpart of the machine that answered in `observations.jsonl`.

`Bench` is that machine with its two CPUs, the driver program that runs on it, ksmd, and a few
spare tasks for what must go on beside the driver. Its methods, and those of `Process`, are the
vocabulary that README.md explains; `programs_*.py` are written in it.

Everything a program does goes through system calls and sysfs files. Only a snapshot looks straight
at page tables and frames, as the observations' did through /proc.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ksmtrio.campaign.known import known_issues_of, match_known
from ksmtrio.locking.wait import WaitQueue
from ksmtrio.mm.mempolicy_alloc import MPOL_BIND, MPOL_DEFAULT
from ksmtrio.mm.mmap import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
)
from ksmtrio.mm.mmzone import MIGRATE_MOVABLE
from ksmtrio.mm.swap import lru_add_drain_all
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.sched.strategies.base import Strategy, Unwatching
from ksmtrio.uapi import syscalls, sysfs
from ksmtrio.units import Nid
from tests.conformance.processes import Process
from tests.kernel_world import AT, KernelWorld, actor, answer, ksm, machine, process

COUNTERS = ("shared", "sharing", "unshared", "volatile")
KSM = "/sys/kernel/mm/ksm"
NR_BLOCKS = 3
"""Memory blocks a node; those of node 1 are movable."""

NARROW_BLOCK = NR_BLOCKS
"""First block of node 1, the one that stays online while narrow programs make their pages."""

TURNS_OF_A_PAUSE = 60
"""Most of a second of the real machine: everybody else has had so many turns."""


@cache
def observations() -> list[dict[str, Any]]:
    """Return what the real kernel answered, in order."""
    path = Path(__file__).with_name("observations.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class TakingTurns(Unwatching):
    """A schedule: an actor runs until it blocks, sleeps or gives way; then the next one does."""

    def __init__(self) -> None:
        self._gave_way = False

    def pick(self, enabled: Sequence[ActorState], current: ActorState | None) -> int:
        """Return the index of the current actor, or of the next one."""
        if current in enabled and not self._gave_way:
            return enabled.index(current)
        self._gave_way = False
        last = -1 if current is None else current.index
        after = [index for index, actor_ in enumerate(enabled) if actor_.index > last]
        return after[0] if after else 0

    def choose(self, stream: str, n: int) -> int:
        """Return the ordinary outcome."""
        return 0

    def demote(self, actor: ActorState) -> None:
        """Let the next actor run."""
        self._gave_way = True


# -- what goes on beside the driver ----------------------------------------------------------------


class Job:
    """A call that a spare task makes while the driver goes on.

    Attributes:
        done: the call has returned.
        result: its answer; -EINTR also for a task that was killed.
    """

    def __init__(self, call: Awaitable[Any]) -> None:
        self._call = call
        self.task: ActorState | None = None
        self.done = False
        self.result: Any = None

    async def make(self) -> None:
        """Make the call."""
        self.result = await answer(self._call)
        self.done = True


# -- the machine -----------------------------------------------------------------------------------


class Bench:
    """The machine, and the driver program that runs on it.

    Attributes:
        world: machine and oracles.
        kernel: its name.
        processes: those that live, by letter, in order of creation.
        answers: step -> what the driver noted there.
    """

    def __init__(
        self,
        kernel: str = "v2.6.33",
        *,
        without: Iterable[str] = (),
        strategy: Strategy | None = None,
    ) -> None:
        self.world = KernelWorld(
            machine(
                cpus=2,
                nodes=2,
                blocks_per_node=NR_BLOCKS,
                pages_per_block=32,
                movable_blocks=list(range(NR_BLOCKS, 2 * NR_BLOCKS)),
                mixed_zone_blocks=[0],
                offline_timeout_jiffies=120_000,
                points_max=1_000_000,
            ),
            ksm(run=0, batches=1_000_000),
            process("init", 1),
            actor("driver", "user_task", process="init", cpu=0),
            *(actor(f"task{number}", "user_task", cpu=1) for number in (1, 2)),
            actor("ksmd", "ksmd", cpu=1),
            kernel=kernel,
            without=without,
            strategy=strategy or TakingTurns(),
        )
        self.kernel = kernel
        self.processes: dict[str, Process] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self._jobs: list[Job] = []
        self._work = WaitQueue(self.world.g, "jobs")
        self._over = False

    def run(self, program: Callable[[Bench], Awaitable[None]]) -> Bench:
        """Run a program to its end, let everything exit and the oracles judge what is left."""

        async def driver(_: KernelWorld) -> None:
            await program(self)
            await self._clean_up()

        self.world.go(driver, self._spare_task, self._spare_task)
        return self

    def unexplained(self) -> list[str]:
        """Return the signatures of what the oracles found and nobody listed for this kernel."""
        known = known_issues_of(self.world.g.kernel)
        found = [finding.signature for finding in self.world.findings.all()]
        return [signature for signature in found if match_known(signature, known) is None]

    # -- making processes, looking at them -----------------------------------------------------

    def add(self, made: Process) -> Process:
        """Take a process up in the snapshots."""
        self.processes[made.name] = made
        return made

    async def mk(
        self, name: str, *contents: int | None, node: Nid = 0, shared: bool = False
    ) -> Process:
        """Make a process with a page for each content, written in order; None: never touched."""
        g = self.world.g
        mm = await syscalls.fork(g, self.world.mm("init"), name)
        made = Process(self, name, mm, [None] * len(contents))
        span = made.span(0, None)
        flags = (MAP_SHARED if shared else MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED
        assert await syscalls.mmap(g, mm, *span, PROT_READ | PROT_WRITE, flags) == span[0]
        if node:
            await syscalls.mbind(g, mm, *span, MPOL_BIND, (node,), 0)
        for index, content in enumerate(contents):
            if content is not None:
                await made.write(index, content)
        if node:
            await syscalls.mbind(g, mm, *span, MPOL_DEFAULT, (), 0)
        return self.add(made)

    async def narrow(self, name: str, *contents: int) -> Process:
        """Make a process all of whose pages lie in one movable block of node 1."""
        return (await self.narrow_together({name: contents}))[0]

    async def narrow_together(self, contents: dict[str, Sequence[int]]) -> list[Process]:
        """Make processes all of whose pages lie in one and the same movable block of node 1."""
        others = range(NARROW_BLOCK + 1, 2 * NR_BLOCKS)
        for block in others:
            assert (await self.offline(block))["ret"] == 0
        made = [await self.mk(name, *pages, node=1) for name, pages in contents.items()]
        for block in others:
            assert (await self.online(block))["ret"] == 0
        return made

    def note(self, step: str, **answers: Any) -> None:
        """Record what a step answered."""
        assert step not in self.answers, f"two steps are called {step}"
        self.answers[step] = answers

    async def snap(self, step: str) -> None:
        """Record KSM's counters and every process's pages."""
        first: dict[int, str] = {}
        pages = {name: self._look(made, first) for name, made in self.processes.items()}
        self.note(step, **await self.counters(), pages=pages)

    async def counters(self) -> dict[str, int]:
        """Read KSM's counters."""
        return {name: int(await self.knob(f"pages_{name}")) for name in COUNTERS}

    def _look(self, made: Process, first: dict[int, str]) -> dict[str, Any]:
        seen: list[tuple[int, str, int, str | None, str]] = []
        for index in range(made.nr_pages):
            pte = made.pte(index) if made.alive else None
            if pte is None or not pte.present:
                seen.append((-1, "-", -1, None, "-"))
                continue
            before = made.last_seen.get(index)
            moved = "?" if before is None else "01"[before != pte.pfn]
            made.last_seen[index] = pte.pfn
            group = first.setdefault(pte.pfn, f"{made.name}{index}")
            if pte.special:
                seen.append((0, "p", 0, group, moved))
                continue
            page = made.page(index)
            word = page.mapping.value
            kind = "K" if word is not None and word.ksm else "p"
            seen.append((page.nid, kind, page.mapcount.value + 1, group, moved))
        node, kinds, mapcount, groups, moves = map(list, zip(*seen, strict=True))
        return {
            "node": node,
            "ksm": "".join(kinds),
            "mapcount": mapcount,
            "group": groups,
            "moved": "".join(moves),
        }

    async def bad_pages(self) -> int:
        """Return how many pages do not hold what their process last stored."""
        bad = 0
        for made in self.processes.values():
            for index, content in enumerate(made.contents):
                if content is not None and made.alive:
                    bad += await made.read(index) != (content, content)
        return bad

    async def end(self) -> None:
        """Verify all contents."""
        self.note("end", bad_pages=await self.bad_pages())

    # -- KSM -----------------------------------------------------------------------------------

    async def knob(self, name: str, value: object = None) -> Any:
        """Read one of KSM's files, or write it; return its text, or 0 or a negative errno."""
        path = f"{KSM}/{name}"
        if value is None:
            return (await sysfs.read(self.world.g, path)).strip()
        return min(await answer(sysfs.write(self.world.g, path, str(value))), 0)

    async def full_scans(self) -> int:
        """Read full_scans."""
        return int(await self.knob("full_scans"))

    async def scan(self, times: int = 1) -> None:
        """Let ksmd scan everything, each time with empty pagevecs."""
        await self.knob("pages_to_scan", 1_000_000)
        for _ in range(times):
            await self.drain()
            before = await self.full_scans()
            await self.knob("run", 1)
            while await self.full_scans() == before:
                await self.world.rt.sleep(AT)
            await self.knob("run", 0)

    async def scans_in_a_pause(self) -> int:
        """Return how many scans ksmd finishes in a pause."""
        before = await self.full_scans()
        await self.pause()
        return await self.full_scans() - before

    async def let_ksmd_run(self, turns: int) -> int:
        """Switch ksmd on for a number of its turns; return how far full_scans went."""
        before = await self.full_scans()
        await self.knob("run", 1)
        await self.pause(turns)
        await self.knob("run", 0)
        return await self.full_scans() - before

    async def drain(self) -> None:
        """Drain the pagevecs of all CPUs."""
        await lru_add_drain_all(self.world.g, AT)

    # -- memory blocks -------------------------------------------------------------------------

    async def offline(self, block: int) -> dict[str, Any]:
        """Take a block offline; return question and answer."""
        return await self._change_state(block, "offline")

    async def online(self, block: int) -> dict[str, Any]:
        """Bring a block online; return question and answer."""
        return await self._change_state(block, "online")

    async def _change_state(self, block: int, word: str) -> dict[str, Any]:
        ret = await self.write_state(block, word)
        return {"call": word, "ret": ret, "state_online": await self.is_online(block)}

    async def write_state(self, block: int, text: str) -> int:
        """Write a block's state file; return 0 or a negative errno."""
        memory_block = self.world.machine.memory_blocks[block]
        return min(await answer(sysfs.write_memory_state(self.world.g, memory_block, text)), 0)

    async def is_online(self, block: int) -> int:
        """Read a block's state file."""
        memory_block = self.world.machine.memory_blocks[block]
        return int(await sysfs.read_memory_state(self.world.g, memory_block) == "online")

    def where(self, made: Process, index: int) -> dict[str, Any]:
        """Return what is known of the frame of a page."""
        page = made.page(index)
        word = page.mapping.value
        pageblock = self.world.g.section_of(page.pfn).pageblock_of(page.pfn)
        return {
            "node": page.nid,
            "zone": "Movable" if pageblock.value == MIGRATE_MOVABLE else "Normal",
            "flag_ksm": int(word is not None and word.ksm),
            "mapcount": page.mapcount.value + 1,
        }

    # -- what goes on beside the driver --------------------------------------------------------

    async def pause(self, turns: int = TURNS_OF_A_PAUSE) -> None:
        """Sleep while everybody else has so many turns."""
        for _ in range(turns):
            await self.world.rt.sleep(AT)

    async def launch(self, call: Awaitable[Any]) -> Job:
        """Have a spare task make a call; go on at once."""
        job = Job(call)
        self._jobs.append(job)
        await self._work.wake_up(AT)
        return job

    async def start(self, call: Awaitable[Any]) -> Job:
        """Have a spare task make a call; return when it is done or has been at it for a while."""
        job = await self.launch(call)
        for _ in range(TURNS_OF_A_PAUSE):
            if job.done:
                break
            await self.world.rt.sleep(AT)
        return job

    async def kill(self, job: Job) -> None:
        """Kill the task that makes a call, and wait until it is gone."""
        assert job.task is not None
        await syscalls.kill(self.world.g, job.task.name)
        await self.finish(job)

    async def finish(self, job: Job) -> Any:
        """Wait until a call has returned; return its answer."""
        while not job.done:
            await self.world.rt.sleep(AT)
        return job.result

    async def _spare_task(self, world: KernelWorld) -> None:
        while True:
            await self._work.wait_event(AT, lambda: bool(self._jobs) or self._over, idle=True)
            if not self._jobs:
                return
            job = self._jobs.pop(0)
            job.task = world.rt.me
            await job.make()
            if await syscalls.return_to_user(world.g):
                return

    async def _clean_up(self) -> None:
        """End the spare tasks; let everything exit, and KSM forget all it knew."""
        self._over = True
        await self._work.wake_up(AT)
        for made in self.processes.values():
            if made.alive:
                await made.exit()
        for value in (2, 0):
            assert await self.knob("run", value) == 0
        assert await self.counters() == dict.fromkeys(COUNTERS, 0)


def run(program: Callable[[Bench], Awaitable[None]], **options: Any) -> Bench:
    """Run a program; demand that it ended and that no oracle found anything new."""
    bench = Bench(**options).run(program)
    assert bench.world.rt.stop_reason == "done"
    assert bench.unexplained() == []
    return bench
