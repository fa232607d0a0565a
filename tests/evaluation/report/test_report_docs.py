"""docs/evaluation-report.md says what is so: its options exist, its series loads, its figures are
those that the code computes.
"""

from __future__ import annotations

import re

import yaml
from evaluating import CHECKOUT
from typer.main import get_command

from cli.eval_app import eval_app
from common.pictures import _FAMILIES
from evaluation.report.published import LOOSE, STRICT, followed_in_failed, published
from evaluation.report.resampling import RESAMPLES
from evaluation.report.series import _LIST

PAGE = (CHECKOUT / "docs" / "evaluation-report.md").read_text(encoding="utf-8")


def test_every_option_on_the_page_exists() -> None:
    group = get_command(eval_app)
    known = {
        option
        for command in group.commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    assert {"--series", "--size", "--proving-ground"} <= named <= known, named - known


def test_the_pages_series_loads() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert [each.title for each in _LIST.validate_python(yaml.safe_load(text))] == [
        "Teacher size", "Samples of KD",
    ]  # fmt: skip


def test_the_pages_figures_about_the_published_cells_are_computed() -> None:
    shares = [
        (bool(m.impossible), 100 * followed_in_failed(m.scores[STRICT], m.scores[LOOSE]))
        for m in published().models
    ]
    marked = [f"{share:.1f}" for doubtful, share in shares if doubtful]
    others = [share for doubtful, share in shares if not doubtful]
    assert f"at most {marked[0]}, {marked[1]} and {marked[2]} %" in " ".join(PAGE.split())
    assert f"{min(others):.0f} to {max(others):.0f} %" in PAGE
    assert f"{RESAMPLES:,} resamples" in PAGE


def test_the_page_names_the_fonts_that_are_looked_for() -> None:
    words = " ".join(PAGE.split())
    for family in _FAMILIES:
        assert family.removesuffix(" JP").removesuffix(" SC") in words, family
