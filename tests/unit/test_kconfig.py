# SPDX-License-Identifier: GPL-2.0-or-later
"""Named kernels and switches."""

from __future__ import annotations

import attrs
import pytest

from ksmtrio.errors import BadInput
from ksmtrio.kconfig import KERNELS, KINDS, SWITCHES, Kernel, build_kernel

SEED_PATCH = {
    "stable_node_by_pfn",
    "search_returns_page",
    "migrate_updates_kpfn",
    "offline_locks_out_ksm",
    "offline_prunes_stable_tree",
    "ksm_notifier_first",
    "recheck_ksm_under_page_lock",
    "offline_passes_offlining",
    "numa_callers_pass_zero",
    "ksm_notifier_registered",
    "numa_callers_skip_ksm",
}


def test_every_idea_of_the_patch_is_a_switch() -> None:
    assert set(SWITCHES) >= SEED_PATCH


def test_every_switch_and_kernel_is_described() -> None:
    assert all(SWITCHES.values())
    assert all(KERNELS.values())


def test_default_kernel_has_the_whole_patch() -> None:
    kernel = build_kernel()
    assert kernel.name == "v2.6.33"
    assert all(kernel.switches()[switch] for switch in SEED_PATCH)


def test_pre_8_keeps_only_what_patch_7_had() -> None:
    states = build_kernel("pre-8").switches()
    assert {switch for switch in SEED_PATCH if states[switch]} == {"migrate_updates_kpfn"}


def test_latest_fixes_is_the_whole_patch_without_the_quirk() -> None:
    released, fixed = build_kernel().switches(), build_kernel("latest-fixes").switches()
    off = {switch for switch in SWITCHES if not fixed[switch]}
    assert off == {"node_isset_returns_minus_one"}
    assert {switch for switch in SWITCHES if released[switch] and not fixed[switch]} == off


def test_fields_left_out_are_as_in_the_default_kernel() -> None:
    assert Kernel(name="v2.6.33") == build_kernel()


@pytest.mark.parametrize("kernel", list(KERNELS))
@pytest.mark.parametrize("switch", list(SWITCHES))
def test_one_switch_turns_and_no_other(kernel: str, switch: str) -> None:
    named = build_kernel(kernel).switches()
    turn = "without" if named[switch] else "with_"
    turned = build_kernel(kernel, **{turn: [switch]}).switches()
    dependents = {"CONFIG_MEMORY_HOTREMOVE"} if switch == "CONFIG_MIGRATION" else set()
    assert {name for name in named if named[name] != turned[name]} == {switch} | dependents


def test_options_are_on_in_every_kernel_and_kinds_tell_them_from_switches() -> None:
    options = {name for name, kind in KINDS.items() if kind == "option"}
    assert options == {
        f"CONFIG_{name}"
        for name in ("KSM", "SYSFS", "MIGRATION", "MEMORY_HOTREMOVE", "HIBERNATION")
    }
    for kernel in KERNELS:
        assert all(build_kernel(kernel).switches()[option] for option in options)
    assert {name for name, kind in KINDS.items() if kind == "patch"} == SEED_PATCH
    assert {name for name, kind in KINDS.items() if kind == "quirk"} == {
        "node_isset_returns_minus_one"
    }


def test_option_asked_for_without_what_it_depends_on_is_bad_input() -> None:
    with pytest.raises(BadInput, match="CONFIG_MEMORY_HOTREMOVE depends on CONFIG_MIGRATION"):
        build_kernel(with_=["CONFIG_MEMORY_HOTREMOVE"], without=["CONFIG_MIGRATION"])


def test_with_turns_a_switch_on() -> None:
    assert build_kernel("pre-8", with_=["offline_locks_out_ksm"]).offline_locks_out_ksm


def test_name_tells_how_the_user_asked_for_it() -> None:
    kernel = build_kernel("pre-8", with_=["search_returns_page"], without=["migrate_updates_kpfn"])
    assert kernel.name == "pre-8 --with search_returns_page --without migrate_updates_kpfn"


def test_switches_come_in_declaration_order() -> None:
    declared = [field.name for field in attrs.fields(Kernel) if field.name != "name"]
    assert list(build_kernel().switches()) == list(SWITCHES) == declared


def test_equal_kernels_are_equal_and_immutable() -> None:
    assert build_kernel() == build_kernel()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        build_kernel().name = "other"  # type: ignore[misc]


def test_unknown_kernel_is_bad_input_that_lists_the_known() -> None:
    with pytest.raises(BadInput, match=r"unknown kernel 'v9'.*v2\.6\.33"):
        build_kernel("v9")


def test_unknown_switch_is_bad_input_that_lists_the_known() -> None:
    with pytest.raises(BadInput, match=r"unknown switch 'warp'.*stable_node_by_pfn"):
        build_kernel(without=["warp"])


def test_switch_asked_for_both_ways_is_bad_input() -> None:
    switch = "stable_node_by_pfn"
    with pytest.raises(BadInput, match="both in --with and in --without"):
        build_kernel(with_=[switch], without=[switch])


def test_iterators_are_accepted_as_well_as_lists() -> None:
    assert not build_kernel(without=iter(["stable_node_by_pfn"])).stable_node_by_pfn
