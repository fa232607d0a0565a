"""The pictures: they are there, they show the curves, and odd runs can be drawn too."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from common import pictures as style
from training.recipe import TrackingSettings
from training.report.metrics import MetricsWriter, StepMetrics
from training.report.plots import plot_kept_mass, plot_run
from training.report.reading import MetricsUnreadable
from training.report.series import History, Series, thin

WriteRun = Callable[..., Path]
EDGES = (0.0, 0.5, 0.9, 0.99, 1.0)


def _pixels(path: Path) -> NDArray[np.uint8]:
    """RGB [height, width, 3]."""
    return np.round(imread(path)[..., :3] * 255).astype(np.uint8)


def _count(path: Path, colour: str) -> int:
    """Pixels of exactly that colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((_pixels(path) == wanted).all(axis=-1).sum())


def test_an_sft_run_has_an_overview_and_a_picture_per_figure(
    write_run: WriteRun, tmp_path: Path
) -> None:
    paths = plot_run({"sft": write_run("sft", 30)}, tmp_path / "plots", "run")
    assert [path.name for path in paths] == [
        "run.png",
        "loss.png",
        "gradient_norm.png",
        "learning_rate.png",
        "throughput.png",
        "memory.png",
    ]
    assert sorted((tmp_path / "plots").iterdir()) == sorted(paths)


def test_a_kd_run_has_pictures_of_masses_agreement_and_the_gradient(
    write_run: WriteRun, tmp_path: Path
) -> None:
    paths = plot_run({"kd": write_run("kd", 30, kd=True, mfu=0.4)}, tmp_path / "plots", "run")
    names = {path.name for path in paths}
    assert {"masses.png", "agreement.png", "kd_share.png", "mfu.png"} <= names


def test_every_picture_shows_its_curve(write_run: WriteRun, tmp_path: Path) -> None:
    metrics = write_run("kd", 30, kd=True, mfu=0.4)
    for path in plot_run({"kd": metrics}, tmp_path / "plots", "run"):
        colour = style.GREEN if path.name == "masses.png" else style.BLUE
        assert _count(path, colour) > 300, path.name


def test_pictures_are_of_a_readable_size_on_a_light_ground(
    write_run: WriteRun, tmp_path: Path
) -> None:
    for path in plot_run({"kd": write_run("kd", 30, kd=True)}, tmp_path / "plots", "run"):
        height, width, _ = _pixels(path).shape
        assert 800 <= width <= 1200
        assert _count(path, style.GROUND) > 0.8 * height * width


def test_another_loss_gives_another_picture(write_run: WriteRun, tmp_path: Path) -> None:
    plot_run({"sft": write_run("one", 30)}, tmp_path / "a", "run")
    plot_run({"sft": write_run("two", 30, loss=0.7)}, tmp_path / "b", "run")
    loss = [_pixels(tmp_path / each / "loss.png") for each in "ab"]
    assert (loss[0] != loss[1]).any()
    memory = [_pixels(tmp_path / each / "memory.png") for each in "ab"]
    assert (memory[0] == memory[1]).all()


def test_a_run_of_one_step_can_be_drawn(write_run: WriteRun, tmp_path: Path) -> None:
    paths = plot_run({"kd": write_run("kd", 1, kd=True)}, tmp_path / "plots", "run")
    assert _count(paths[1], style.VERMILION) > 20


def test_a_loss_that_was_never_finite_can_be_drawn(write_run: WriteRun, tmp_path: Path) -> None:
    paths = plot_run({"sft": write_run("sft", 5, loss=math.nan)}, tmp_path / "plots", "run")
    assert len(paths) == 6


def test_a_step_that_was_not_finite_is_marked(
    tmp_path: Path, step_metrics: Callable[..., StepMetrics]
) -> None:
    for name, value in (("whole", 1.0), ("broken", math.nan)):
        tracking = TrackingSettings(tensorboard=False)
        with MetricsWriter(tmp_path / name, tracking, "run", "name: r") as writer:
            for step in range(1, 40):
                writer.step(step_metrics(step, loss=value if step == 20 else 1.0))
        plot_run({"sft": tmp_path / name / "metrics.jsonl"}, tmp_path / name / "plots", "run")
    marks = [_count(tmp_path / name / "plots/loss.png", style.VERMILION) for name in
             ("whole", "broken")]  # fmt: skip
    assert marks[0] == 0 < marks[1]


def test_stages_lie_end_to_end(write_run: WriteRun) -> None:
    history = History({"sft": write_run("sft", 4), "kd": write_run("kd", 3, kd=True)})
    assert [(span.name, span.begin, span.end) for span in history.spans] == [
        ("sft", 0, 4),
        ("kd", 4, 7),
    ]
    steps = [piece.step_S.tolist() for piece in history.series("step", "loss")]
    assert steps == [[1, 2, 3, 4], [5, 6, 7]]
    assert [piece.step_S.tolist() for piece in history.series("step", "kd")] == [[5, 6, 7]]


def test_a_hundred_thousand_steps_are_thinned_and_keep_their_spread() -> None:
    step_S = np.arange(1, 100_001, dtype=np.float64)
    value_S = np.sin(step_S / 5000)
    value_S[77_777] = 9.0
    thinned = thin(Series(step_S, value_S, np.array([])))
    assert len(thinned.step_B) == 400
    assert thinned.high_B.max() == 9.0
    smooth = np.sin(thinned.step_B / 5000)
    inner = slice(10, -10)
    assert np.abs(thinned.line_B[inner] - smooth[inner]).max() < 0.03


def test_nulls_are_left_out_of_means() -> None:
    value_S = np.array([1.0, np.nan, 3.0])
    thinned = thin(Series(np.array([1.0, 2.0, 3.0]), value_S, np.array([2.0])), points=1)
    assert thinned.line_B.tolist() == [2.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen $x_1$", "qwen $x_1$"),
        ("\x1b[31mred\u202e", "[31mred"),
        ("\U0001f9ea", "[U+1F9EA]"),
    ],
)
def test_names_are_shown_with_what_the_fonts_have(name: str, expected: str) -> None:
    assert style.shown(name) == expected


def test_a_japanese_name_is_drawn_without_a_missing_glyph(
    write_run: WriteRun, tmp_path: Path
) -> None:
    metrics = write_run("sft", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_run({"学習": metrics}, tmp_path / "plots", "蒸留所 ウイスキー 위스키 威士忌")


def test_a_run_without_a_step_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind":"event","step":0,"name":"begin"}\n')
    with pytest.raises(MetricsUnreadable, match="nothing to draw"):
        plot_run({"sft": tmp_path / "metrics.jsonl"}, tmp_path / "plots", "run")


def test_kept_mass_is_drawn_in_proportion(tmp_path: Path) -> None:
    plot_kept_mass(EDGES, (0, 0, 50, 50), tmp_path / "two.png", k=10)
    plot_kept_mass(EDGES, (0, 0, 0, 100), tmp_path / "one.png", k=10)
    two, one = (_count(tmp_path / name, style.BLUE) for name in ("two.png", "one.png"))
    assert two == pytest.approx(2 * one, rel=0.02)


@pytest.mark.parametrize("counts", [(1, 2, 3), (0, 0, 0, 0)])
def test_counts_that_make_no_histogram_are_refused(counts: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make no histogram"):
        plot_kept_mass(EDGES, counts, tmp_path / "kept.png", k=10)
