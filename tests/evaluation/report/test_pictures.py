"""Pictures: every bar and outline is there, names of any script fit, odd figures can be drawn."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.image import imread

from common import pictures
from evaluation.report import canvas
from evaluation.report.bars import BarChart, draw_bars
from evaluation.report.lines import Curve, Point, Reference, draw_curve, draw_scatter
from evaluation.report.radar import draw_radar
from evaluation.report.resampling import Interval

GROUPS = ("writing", "推論", "数学 and a rather long name of a category", "coding")


def colours(path: Path) -> set[str]:
    """All colours of a picture, as `#rrggbb`."""
    pixels = np.round(imread(path)[..., :3] * 255).astype(int)
    return {"#{:02x}{:02x}{:02x}".format(*colour) for colour in np.unique(
        pixels.reshape(-1, 3), axis=0)}  # fmt: skip


def border(path: Path) -> int:
    """Pixels at the picture's edge that are not the ground: something was cut off."""
    pixels = np.round(imread(path)[..., :3] * 255).astype(int)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return int((edge != 255).any(axis=1).sum())


@pytest.mark.parametrize("models", [1, 3, 6])
def test_bars_of_every_model_are_there_and_nothing_is_cut_off(models: int, tmp_path: Path) -> None:
    figures = {
        group: Interval(50 + 9 * n, 40 + 9 * n, 60 + 9 * n) for n, group in enumerate(GROUPS)
    }
    chart = BarChart(
        "IFEval by family of instructions", "% instructions followed, strict", GROUPS,
        tuple((f"{n} 蒸留後の生徒モデル with a long name", figures) for n in range(models)), 100.0,
    )  # fmt: skip
    path = tmp_path / "bars.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_bars(chart, path)
    assert set(canvas.COLOURS[:models]) <= colours(path)
    assert border(path) == 0


def test_missing_and_negative_figures_can_be_drawn(tmp_path: Path) -> None:
    chart = BarChart(
        "t", "%", ("a", "b"), (("m", {"a": Interval(-1.0, -5.0, 3.0), "b": None}),), None
    )
    draw_bars(chart, tmp_path / "bars.png")
    nothing = BarChart("t", "%", ("a",), (("m", {"a": Interval(0.0)}),), None)
    draw_bars(nothing, tmp_path / "zero.png")
    assert border(tmp_path / "bars.png") == border(tmp_path / "zero.png") == 0


def test_a_radar_has_an_outline_per_model(tmp_path: Path) -> None:
    values = {group: 5.0 + n for n, group in enumerate(GROUPS)}
    partial = dict.fromkeys(GROUPS[:2], 2.0)
    draw_radar(tmp_path / "radar.png", "t", GROUPS, [("a", values), ("b", partial)], 10)
    assert set(canvas.COLOURS[:2]) <= colours(tmp_path / "radar.png")
    with pytest.raises(ValueError, match="no radar"):
        draw_radar(tmp_path / "radar.png", "t", GROUPS[:2], [("a", values)], 10)


def test_sizes_and_published_lines_share_a_scale(tmp_path: Path) -> None:
    points = [
        Point("生徒", 494e6, Interval(31.0, 28.0, 34.0), 0),
        Point("t", None, Interval(84.0), 1),
    ]
    lines = [Reference("published", ((5e8, 30.0, False), (3e9, 74.0, True)))]
    draw_scatter(tmp_path / "s.png", "t", "%", points, lines)
    assert set(canvas.COLOURS[:2]) <= colours(tmp_path / "s.png")
    draw_scatter(tmp_path / "alone.png", "t", "%", points[:1], [])
    draw_scatter(tmp_path / "unknown.png", "t", "%", points[1:], [])
    assert border(tmp_path / "s.png") == 0


def test_curves_take_numbers_and_names(tmp_path: Path) -> None:
    figures = (Interval(1.0, 0.5, 1.5), Interval(2.0), Interval(math.pi, 3.0, 3.3))
    draw_curve(
        tmp_path / "n.png", Curve("t", "量", "a", ("1k", "9k", "99k"), (1e3, 9e3, 99e3), figures)
    )
    draw_curve(tmp_path / "w.png", Curve("t", "量", "a", ("s", "m", "全部"), None, figures))
    assert canvas.COLOURS[0] in colours(tmp_path / "n.png") & colours(tmp_path / "w.png")


@pytest.mark.parametrize("step", [
    "teacher whose rows are learnt (answers: the largest's); 5 training seeds",
    "教師の大きさと種の数" * 8,
])  # fmt: skip
def test_a_long_step_takes_several_lines_and_is_not_cut_off(step: str, tmp_path: Path) -> None:
    figures = (Interval(1.0, 0.5, 1.5), Interval(2.0))
    draw_curve(tmp_path / "short.png", Curve("t", "s", "a", ("s", "m"), None, figures))
    draw_curve(tmp_path / "long.png", Curve("t", step, "a", ("s", "m"), None, figures))
    assert border(tmp_path / "long.png") == 0
    short, long = (imread(tmp_path / f"{name}.png").shape for name in ("short", "long"))
    assert long[1] == short[1] and long[0] > short[0]


def test_names_are_cut_by_the_width_that_is_seen() -> None:
    assert canvas.short_name("a" * 40, 10) == "a" * 9 + "…"
    assert canvas.short_name("a" * 10, 10) == "a" * 10
    if not pictures.without_glyphs("蒸留後"):
        assert canvas.short_name("蒸留後" * 5, 10) == "蒸留後蒸…"


def test_characters_without_a_glyph_are_told() -> None:
    assert pictures.without_glyphs("abc") == ""
    assert pictures.without_glyphs("\U000f0000a\U000f0000") in ("", "\U000f0000")
    assert "\U0001e900" in pictures.without_glyphs("x\U0001e900")
