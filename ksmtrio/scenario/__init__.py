# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: what is in the machine, who acts in it, and what the end should look like."""

from ksmtrio.scenario.load import (
    builtin_groups,
    builtin_names,
    load_scenario,
    parse_scenario,
    sample_names,
)
from ksmtrio.scenario.operations import OPS
from ksmtrio.scenario.schema import (
    ActorSpec,
    EndSpec,
    FrozenMap,
    KsmSpec,
    MachineSpec,
    MergedSpec,
    NotifierSpec,
    Op,
    PageRef,
    ProcessSpec,
    Scenario,
    VmaSpec,
)

__all__ = [
    "OPS",
    "ActorSpec",
    "EndSpec",
    "FrozenMap",
    "KsmSpec",
    "MachineSpec",
    "MergedSpec",
    "NotifierSpec",
    "Op",
    "PageRef",
    "ProcessSpec",
    "Scenario",
    "VmaSpec",
    "builtin_groups",
    "builtin_names",
    "load_scenario",
    "parse_scenario",
    "sample_names",
]
