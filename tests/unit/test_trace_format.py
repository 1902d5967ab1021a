# SPDX-License-Identifier: GPL-2.0-or-later
"""Records: canonical bytes, strict fields, self-contained headers; digests of plain data."""

from __future__ import annotations

import msgspec
import pytest

from ksmtrio.errors import BadInput, EmulatorError
from ksmtrio.kconfig import SWITCHES, build_kernel
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.trace.digest import EventDigest, digest_of
from ksmtrio.trace.format import (
    ChoiceRecord,
    EventRecord,
    Header,
    KernelState,
    ProgramFile,
    ScenarioText,
    StrategyState,
    build_header,
    check_version,
    decode,
    encode,
    executed_of,
)


def header(**changes: object) -> Header:
    made = build_header(
        (
            ScenarioText("s", "s.toml", "format = 1\n"),
            build_kernel("v2.6.33", without=["offline_locks_out_ksm"]),
        ),
        StrategySpec("pct", 7, 3, 40),
    )
    return msgspec.structs.replace(made, **changes)


def test_record_survives_a_round_trip():
    record = EventRecord(3, "ksmd", "get_ksm_page.1", "read", {"target": "x.kpfn", "value": 4})
    assert decode(encode(record)) == record
    assert record.to_event().system == ""


def test_keys_of_fields_are_sorted():
    one = EventRecord(0, "", "a.1", "read", {"b": 1, "a": 2})
    other = EventRecord(0, "", "a.1", "read", {"a": 2, "b": 1})
    assert encode(one) == encode(other)


@pytest.mark.parametrize(
    "line",
    [
        b'{"record":"choice","step":0,"actor":"a","at":"x","stream":"other","index":0,"of":2,"what":""}',
        b'{"record":"choice","step":0,"actor":"a","at":"x","stream":"data","index":-1,"of":2,"what":""}',
        b'{"record":"choice","step":0,"actor":"a","at":"x","stream":"data","index":"0","of":2,"what":""}',
        b'{"record":"choice","step":0,"actor":"a","at":"x","stream":"data","index":0,"of":2}',
        b'{"record":"event","step":0,"actor":"","point":"","event":"","fields":{},"more":1}',
        b'{"record":"event","step":1.5,"actor":"","point":"","event":"","fields":{}}',
        b'{"record":"nothing"}',
        b'{"step":0}',
        b"[]",
    ],
)
def test_record_with_a_wrong_field_is_refused(line):
    with pytest.raises(msgspec.ValidationError):
        decode(line)


def test_header_names_the_kernel_switch_by_switch():
    _, kernel = executed_of(header())
    assert not kernel.offline_locks_out_ksm
    assert kernel.name == "v2.6.33 --without offline_locks_out_ksm"
    assert header().strategy == StrategyState("pct", 7, 3, 40)


def test_switch_that_the_trace_does_not_know_stays_as_in_the_base():
    switches = build_kernel("pre-8").switches()
    del switches["ksm_notifier_first"]
    _, kernel = executed_of(header(kernel=KernelState("pre-8", switches)))
    assert kernel.switches() == build_kernel("pre-8").switches()


@pytest.mark.parametrize(
    "state",
    [
        KernelState("v9.9", {}),
        KernelState("v2.6.33", {**dict.fromkeys(SWITCHES, True), "nonsense": True}),
    ],
)
def test_unknown_kernel_or_switch_is_bad_input(state):
    with pytest.raises(BadInput, match=r"v9\.9|nonsense"):
        executed_of(header(kernel=state))


PROGRAM = ProgramFile("mine.py", "two", "0" * 64)


def test_header_names_a_program_instead_of_scenario_and_kernel():
    made = build_header(PROGRAM, None)
    assert decode(encode(made)) == made
    assert executed_of(made) == PROGRAM
    assert b"scenario" not in encode(made)
    assert b"program" not in encode(header())


@pytest.mark.parametrize("changes", [{"program": PROGRAM}, {"kernel": None}, {"scenario": None}])
def test_header_that_names_both_or_neither_is_bad_input(changes):
    with pytest.raises(BadInput, match="a scenario and a kernel, or else a program"):
        executed_of(header(**changes))


def test_other_format_version_is_named():
    with pytest.raises(BadInput, match=r"trace format 2 is unknown; this ksmtrio reads 1"):
        check_version(b'{"record":"header","format":2}')


def test_event_digest_depends_on_every_record_and_their_order():
    lines = [encode(ChoiceRecord(i, "a", "x", "data", i, 9, "")) for i in range(3)]

    def digest(order):
        events = EventDigest()
        for index in order:
            events.update(lines[index])
        return events.hexdigest()

    assert digest([0, 1, 2]) == digest([0, 1, 2])
    assert len({digest(o) for o in ([0, 1, 2], [1, 0, 2], [0, 1], [0, 1, 1])}) == 4


def test_digest_of_plain_data_does_not_depend_on_the_order_of_keys():
    assert digest_of({"a": [1, None], "b": "x"}) == digest_of({"b": "x", "a": [1, None]})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


@pytest.mark.parametrize("value", [1.5, {3}, [{"deep": 2.0}], object()])
def test_dump_that_is_no_plain_data_is_a_fault_of_ours(value):
    with pytest.raises(EmulatorError, match="the machine's dump"):
        digest_of({"value": value})
