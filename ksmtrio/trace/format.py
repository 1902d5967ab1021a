# SPDX-License-Identifier: GPL-2.0-or-later
"""The records of a trace, one JSON object a line, each validated field by field.

Order: one `header`, any number of `event` and `choice` records, the `finding` records, one
`footer`. The encoding is canonical: fields in the order below, keys of free-form fields sorted, so
that equal records are equal bytes. The header is self-contained; what it says of versions is for
people and in no digest. Tests: `tests/unit/test_trace_format.py`.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ksmtrio.errors import BadInput
from ksmtrio.kconfig import KERNELS, SWITCHES, Kernel, build_kernel
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.tracepoints.base import Event
from ksmtrio.tracepoints.registry import FORMAT_VERSION

TRACE_BYTES_MAX: Final = 64 << 20
"""Largest trace, uncompressed: no longer one is written, and none is read."""

SCENARIO_CHARS_MAX: Final = 1 << 20
"""Longest scenario text in a header, in characters."""

_NAME_CHARS_MAX: Final = 1 << 12
_TEXT_CHARS_MAX: Final = 1 << 16
_ITEMS_MAX: Final = 1 << 12

Natural = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Name = Annotated[str, Meta(max_length=_NAME_CHARS_MAX)]
Text = Annotated[str, Meta(max_length=_TEXT_CHARS_MAX)]
Hex = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Stream: TypeAlias = Literal["schedule", "data", "faults"]
Item: TypeAlias = int | Text | bool | list[Any] | None
Verdict: TypeAlias = Literal["finding", "clean"]


class _Record(Struct, frozen=True, forbid_unknown_fields=True, tag_field="record"):
    """Base of all records."""


class ScenarioText(Struct, frozen=True, forbid_unknown_fields=True):
    """The effective scenario: name, where it came from, and its full text."""

    name: Name
    source: Name
    text: Annotated[str, Meta(max_length=SCENARIO_CHARS_MAX)]


class KernelState(Struct, frozen=True, forbid_unknown_fields=True):
    """The kernel: name of the base and every switch."""

    name: Name
    switches: Annotated[dict[Name, bool], Meta(max_length=_ITEMS_MAX)]


class StrategyState(Struct, frozen=True, forbid_unknown_fields=True):
    """The strategy that made the choices, with its effective parameters; ``replay`` for a list.

    `target` and `counts` are there only where a strategy has them.
    """

    name: Name
    seed: Natural = 0
    depth: Natural = 0
    points: Natural = 0
    target: Name | UnsetType = UNSET
    counts: Annotated[tuple[Natural, ...], Meta(max_length=_ITEMS_MAX)] | UnsetType = UNSET


class Header(_Record, frozen=True, tag="header"):
    """First record: all that an execution is a function of, except its choices."""

    format: Natural
    scenario: ScenarioText
    kernel: KernelState
    strategy: StrategyState
    seed: Natural
    ksmtrio: Name
    python: Name


class EventRecord(_Record, frozen=True, tag="event"):
    """An operation on a cell or lock, or a tracepoint."""

    step: Natural
    actor: Name
    point: Name
    event: Name
    fields: Annotated[dict[Name, Item], Meta(max_length=_ITEMS_MAX)]

    def to_event(self) -> Event:
        """Return the event without its envelope."""
        return Event(self.step, self.actor, self.point, self.event, dict(self.fields))


class ChoiceRecord(_Record, frozen=True, tag="choice"):
    """A choice that was taken: index `index` of `of` alternatives, at the label `at`."""

    step: Natural
    actor: Name
    at: Name
    stream: Stream
    index: Natural
    of: Natural
    what: Name


class FindingRecord(_Record, frozen=True, tag="finding"):
    """What an oracle saw; all findings of the execution stand together before the footer."""

    signature: Text
    oracle: Name
    kind: Name
    point: Name
    other: Name
    message: Text
    actors: Annotated[list[Name], Meta(max_length=_ITEMS_MAX)]
    corrupting: bool
    step: Natural


class Footer(_Record, frozen=True, tag="footer"):
    """Last record: the verdict, schedule points passed, and the two digests."""

    verdict: Verdict
    points: Natural
    stop_reason: Name
    findings: Natural
    events_digest: Hex
    machine_digest: Hex


Record: TypeAlias = Header | EventRecord | ChoiceRecord | FindingRecord | Footer
BodyRecord: TypeAlias = EventRecord | ChoiceRecord | FindingRecord
KINDS: Final = ("header", "event", "choice", "finding", "footer")

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Record).decode


class _Version(Struct, tag="header", tag_field="record"):
    """Only what tells which reader a file wants."""

    format: int


_decode_version = msgspec.json.Decoder(_Version).decode


@cache
def ksmtrio_version() -> str:
    """Return the version of the installed ksmtrio."""
    try:
        return version("ksmtrio")
    except PackageNotFoundError:
        return "not installed"


def encode(record: Record) -> bytes:
    """Return the canonical JSON of a record, without a line end."""
    return _encode(record)


def decode(line: bytes) -> Record:
    """Return the record in a line.

    Raises:
        msgspec.MsgspecError, ValueError: not JSON, or not a valid record; the text says where.
    """
    record: Record = _decode(line)
    return record


def to_json(record: Record) -> dict[str, Any]:
    """Return a record as plain data, for reports."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain


def check_version(line: bytes) -> None:
    """Refuse a header of another format before its fields are looked at.

    Raises:
        BadInput: another version; the text says which is accepted.
        msgspec.MsgspecError, ValueError: not a header at all.
    """
    version = _decode_version(line).format
    if version != FORMAT_VERSION:
        raise BadInput(f"trace format {version} is unknown; this ksmtrio reads {FORMAT_VERSION}")


def build_header(
    *, scenario_name: str, source: str, text: str, kernel: Kernel, strategy: StrategySpec | None
) -> Header:
    """Return the header of an execution that is about to be recorded.

    Args:
        scenario_name: of the scenario.
        source: file or built-in name that the scenario came from.
        text: the scenario in full.
        kernel: as effective.
        strategy: what makes the choices; None when they come from a list.
    """
    spec = StrategySpec("replay", 0) if strategy is None else strategy
    return Header(
        format=FORMAT_VERSION,
        scenario=ScenarioText(scenario_name, source, text),
        kernel=KernelState(kernel.name.split()[0], kernel.switches()),
        strategy=StrategyState(
            spec.name,
            spec.seed,
            spec.depth,
            spec.points,
            spec.target or UNSET,
            spec.counts or UNSET,
        ),
        seed=spec.seed,
        ksmtrio=ksmtrio_version(),
        python=platform.python_version(),
    )


def kernel_of(header: Header) -> Kernel:
    """Return the kernel that a header names.

    Switches that the trace does not know keep the state they have in the base kernel.

    Raises:
        BadInput: unknown kernel or switch.
    """
    state = header.kernel
    if state.name not in KERNELS:
        known = ", ".join(KERNELS)
        raise BadInput(f"kernel.name {state.name!r} is unknown; known kernels: {known}")
    unknown = sorted(set(state.switches) - set(SWITCHES))
    if unknown:
        raise BadInput(f"kernel.switches: {unknown[0]!r} is not a switch of this ksmtrio")
    base = build_kernel(state.name).switches()
    changed = {name: state.switches.get(name, base[name]) for name in SWITCHES}
    return build_kernel(
        state.name,
        with_=[name for name in SWITCHES if changed[name] and not base[name]],
        without=[name for name in SWITCHES if base[name] and not changed[name]],
    )
