"""Does verification pay? Verified answers against all, and against as many of the same families.

Verification also changes what the data is of: families in which the teacher errs become rarer. So
there are two comparisons: with all first answers, and with first answers drawn to the verified
ones' counts per family, language and level, which differ in being right alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.proving_ground.results import ArmResult, Making, difference
from benchmarks.proving_ground.sections.words import (
    Lines,
    gap,
    marks_table,
    named,
    sentences,
    table,
)

_VERIFIED = "sft"
_OTHERS = {
    "sft-unverified": "all first answers, right or wrong, for as many steps",
    "sft-matched": "first answers, right or wrong, as many per family, language and level as were "
    "verified, for as many steps",
}


def verification(found: Mapping[str, ArmResult], made: Mapping[str, Making]) -> Lines:
    """The section."""
    others = named(found, *_OTHERS)
    if _VERIFIED not in found or not others:
        return []
    verified = found[_VERIFIED]
    lines = ["", "## Does verification pay?", ""]
    lines += [f"- `{arm.name}`: {_OTHERS[arm.name]}." for arm in others]
    lines += ["", *marks_table([verified, *others], made=made), ""]
    lines += sentences(found, *((_VERIFIED, arm.name) for arm in others))
    families = [group for group in verified.groups if group.startswith("family:")]
    head = ["points, seed by seed", *(f"`{_VERIFIED}` over `{arm.name}`" for arm in others)]
    rows = [
        [group.replace(":", " "),
         *(gap(difference(verified, arm, group), group) for arm in others)]
        for group in families
    ]  # fmt: skip
    return [*lines, "", *table(head, rows)]
