"""The live display and its plain lines, fed with records as the trainer writes them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from training.report.figures import short, span
from training.report.progress import CorpusProgress, PlainProgress, TrainProgress
from training.report.reading import Record, read_metrics

WriteRun = Callable[..., Path]


def _screen(progress: TrainProgress, width: int = 110) -> str:
    console = Console(file=io.StringIO(), record=True, width=width, force_terminal=True)
    console.print(progress)
    return console.export_text()


def _after(path: Path, stage: str, steps: int) -> TrainProgress:
    progress = TrainProgress("distil", stage, steps)
    for record in read_metrics(path):
        progress.update(record)
    return progress


def _step(step: int, loss: float | None, seconds: float = 0.5) -> Record:
    figures = {"epoch": 1.0, "learning_rate": 1e-5, "gradient_norm": 0.7, "tokens_per_s": 800.0}
    return {"kind": "step", "step": step, "loss": loss, "seconds": seconds, **figures}


def test_before_the_first_step_the_length_is_shown() -> None:
    assert "90 steps" in _screen(TrainProgress("distil", "sft", 90))


def test_an_sft_stage_shows_where_it_is(write_run: WriteRun) -> None:
    screen = _screen(_after(write_run("sft", 30), "sft", 90))
    for words in (
        "30/90 steps",
        "epoch 3.00",
        "30 s left",
        "1.5 nats per label, perplexity 4.48 at step 30",
        "learning rate 1e-05, gradient norm 0.7",
        "800 tokens/s, peak memory 3 GiB",
        "checkpoint  step 30",
    ):
        assert words in screen


def test_an_sft_stage_says_nothing_of_a_teacher(write_run: WriteRun) -> None:
    screen = _screen(_after(write_run("sft", 30), "sft", 90))
    assert "distillation" not in screen
    assert "KD" not in screen


def test_a_kd_stage_shows_parts_masses_and_agreement(write_run: WriteRun) -> None:
    screen = _screen(_after(write_run("kd", 4, kd=True, loss=0.9, ce=0.8), "kd", 9))
    assert "0.9 (CE 0.8, KD 0.5)" in screen
    assert (
        "teacher P 97 %, student Q 93 %, same first choice 81 %, share of the gradient 66 %"
        in screen
    )


def test_a_loss_that_is_not_finite_is_named(write_run: WriteRun) -> None:
    progress = _after(write_run("sft", 3, loss=float("nan")), "sft", 9)
    assert "loss nan" in progress.line()


def test_the_sparkline_goes_from_the_first_loss_to_the_last() -> None:
    progress = TrainProgress("distil", "sft", 9)
    for step, loss in enumerate((8.0, 4.5, None, 1.0), start=1):
        progress.update(_step(step, loss))
    assert progress.sparkline() == "█▅ ▁"


def test_the_sparkline_of_a_long_run_keeps_its_width() -> None:
    progress = TrainProgress("distil", "sft", 1000)
    for step in range(1, 1001):
        progress.update(_step(step, 1.0 / step))
    assert len(progress.sparkline(20)) == 20


def test_steps_that_come_again_take_the_place_of_the_old_ones() -> None:
    progress = TrainProgress("distil", "sft", 9)
    for step, loss in ((1, 8.0), (2, 99.0), (3, 99.0), (2, 4.5), (3, 1.0)):
        progress.update(_step(step, loss))
    assert progress.sparkline() == "█▅▁"


def test_time_left_does_not_come_from_a_slow_first_step() -> None:
    progress = TrainProgress("distil", "sft", 12)
    progress.update(_step(1, 1.0, seconds=60.0))
    assert progress.seconds_left is None
    progress.update(_step(2, 1.0, seconds=2.0))
    assert progress.seconds_left == 20.0


def test_names_are_no_markup() -> None:
    assert "a[b]c" in _screen(TrainProgress("a[b]c", "sft", 9))


def test_a_narrow_terminal_loses_nothing(write_run: WriteRun) -> None:
    screen = _screen(_after(write_run("kd", 4, kd=True), "kd", 9), width=50)
    assert "4/9 steps" in screen
    assert "GiB" in screen


def test_plain_lines_are_the_first_step_the_last_and_what_happens() -> None:
    lines: list[str] = []
    plain = PlainProgress("distil", "sft", 5, print=lines.append, every_s=1e9)
    for step in range(1, 6):
        plain.update(_step(step, 2.0 / step))
    plain.update({"kind": "validation", "step": 5, "nll": 1.5, "perplexity": 4.5})
    plain.update({"kind": "event", "step": 5, "name": "checkpoint"})
    assert lines == [
        "sft 1/5, epoch 1.00, loss 2, learning rate 1e-05, gradient norm 0.7, 800 tokens/s",
        "sft 5/5, epoch 1.00, loss 0.4, learning rate 1e-05, gradient norm 0.7, 800 tokens/s",
        "sft validation: 1.5 nats per label, perplexity 4.5 at step 5",
        "sft checkpoint at step 5",
    ]


def test_plain_lines_come_as_often_as_they_are_wanted() -> None:
    lines: list[str] = []
    plain = PlainProgress("distil", "sft", 5, print=lines.append, every_s=0)
    for step in range(1, 6):
        plain.update(_step(step, 2.0))
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.09531, "0.0953"), (8.123e-6, "8.12e-06"), (999.9, "1k"), (12_345, "12.3k"), (2e6, "2M")],
)
def test_figures_have_three_digits(value: float, words: str) -> None:
    assert short(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(59.6, "1 min 00 s"), (42, "42 s"), (3900, "1 h 05 min"), (100_000, "1 d 03 h")],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_tokenising_says_how_far_it_is_as_often_as_is_wanted() -> None:
    said: list[str] = []
    often, seldom = CorpusProgress(said.append, every_s=0.0), CorpusProgress(said.append)
    seldom(512, 100_000)
    often(1_024, 100_000)
    often(1_536, 100_000)
    assert said == [f"tokenising: {n} of 100,000 samples" for n in ("1,024", "1,536")]
