# SPDX-License-Identifier: GPL-2.0-or-later
"""The slab oracle: use after free and double free of kernel objects, as KASAN would see them.

Objects of type-stable slabs may be touched inside an RCU section that began before their death; the
runtime knows and says nothing then. Covers the last sentence of I10. Tests:
`tests/unit/test_oracles_slab.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ksmtrio.oracles.notices import Heard, NoticeOracle, access_text, death_text

if TYPE_CHECKING:
    from collections.abc import Mapping


class SlabOracle(NoticeOracle):
    """Watches stable_node, rmap_item, mm_slot, mm, vma and anon_vma."""

    name = "slab"
    description = "no use after free and no double free of a kernel object"
    kinds: ClassVar[Mapping[str, bool]] = {"use-after-free": True, "double-free": True}

    def text(self, heard: Heard) -> str:
        """In KASAN's manner."""
        what = heard.message if heard.kind == "double-free" else access_text(self.rt, heard)
        return f"BUG: KASAN: {heard.kind} in {heard.at}: {what}; {death_text(heard.other)}"
