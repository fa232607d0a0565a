"""What the pictures of a run show: one `Panel` per picture, with its curves, unit and scale.

In: a run's `History`. Out: the panels that it has figures for, and how one is drawn: the smoothed
curve over what was measured (faint), validations as dots, names at the curves' ends, stages divided
by thin lines, and a cross at every step whose value was NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.report import style
from training.report.series import Floats, History, Series, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scale = Literal["fit", "from zero", "share", "log where wide"]


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure of the metrics. `kind` is the records' kind; validations are drawn as dots."""

    kind: Literal["step", "validation"]
    key: str
    label: str
    colour: str
    smooth: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: values are drawn divided by `per`, in `unit`."""

    file: str
    title: str
    unit: str
    curves: tuple[Curve, ...]
    scale: Scale = "fit"
    per: float = 1.0


def run_panels(history: History) -> list[Panel]:
    """The panels for which `history` has figures, the loss first."""
    has_kd = bool(history.series("step", "kd"))
    panels = [_kd_loss() if has_kd else _sft_loss(), *_FIGURES]
    return [
        panel
        for panel in panels
        if any(history.series(curve.kind, curve.key) for curve in panel.curves)
    ]


def _sft_loss() -> Panel:
    return Panel(
        "loss.png",
        "Loss",
        "nats per label",
        (
            Curve("step", "loss", "train", style.BLUE),
            Curve("validation", "nll", "validation", style.VERMILION),
        ),
    )


def _kd_loss() -> Panel:
    return Panel(
        "loss.png",
        "Loss and its parts",
        "nats per label",
        (
            Curve("step", "loss", "total", style.INK),
            Curve("step", "ce", "CE", style.BLUE),
            Curve("step", "kd", "KD", style.VERMILION),
            Curve("validation", "nll", "CE, valid.", style.SKY),
            Curve("validation", "kd", "KD, valid.", style.ORANGE),
        ),
    )


_FIGURES = (
    Panel(
        "masses.png",
        "Mass on the teacher's top k",
        "% of probability",
        (
            Curve("step", "teacher_mass", "teacher P", style.GREEN),
            Curve("step", "student_mass", "student Q", style.PURPLE),
        ),
        "share",
        0.01,
    ),
    Panel(
        "agreement.png",
        "Same first choice as the teacher",
        "% of rows",
        (
            Curve("step", "agreement", "train", style.BLUE),
            Curve("validation", "agreement", "validation", style.VERMILION),
        ),
        "share",
        0.01,
    ),
    Panel(
        "kd_share.png",
        "KD's share of the gradient",
        "% at the logits",
        (Curve("step", "kd_share", "KD share", style.BLUE),),
        "share",
        0.01,
    ),
    Panel(
        "gradient_norm.png",
        "Gradient norm",
        "before clipping",
        (Curve("step", "gradient_norm", "norm", style.BLUE),),
        "log where wide",
    ),
    Panel(
        "learning_rate.png",
        "Learning rate",
        "× 10⁻⁶",
        (Curve("step", "learning_rate", "rate", style.BLUE, smooth=False),),
        "from zero",
        1e-6,
    ),
    Panel(
        "throughput.png",
        "Throughput",
        "tokens per second",
        (Curve("step", "tokens_per_s", "tokens/s", style.BLUE),),
        "from zero",
    ),
    Panel(
        "mfu.png",
        "Model FLOPs utilisation",
        "% of the peak",
        (Curve("step", "mfu", "MFU", style.BLUE),),
        "from zero",
        0.01,
    ),
    Panel(
        "memory.png",
        "Peak memory of a rank",
        "GiB",
        (Curve("step", "peak_memory_bytes", "peak", style.BLUE, smooth=False),),
        "from zero",
        2.0**30,
    ),
)


def draw_panel(axes: Axes, panel: Panel, history: History) -> None:
    """Draws `panel` into `axes`."""
    drawn: list[tuple[Curve, list[Series]]] = [
        (curve, pieces)
        for curve in panel.curves
        if (pieces := _scaled(history.series(curve.kind, curve.key), panel.per))
    ]
    ends: list[tuple[float, str, str]] = []
    seen: list[Floats] = []
    for curve, pieces in drawn:
        draw = _draw_dots if curve.kind == "validation" else _draw_line
        lines = [draw(axes, curve, piece) for piece in pieces]
        seen += lines
        last = _last_finite(lines[-1])
        if last is not None:
            ends.append((last, f"{curve.label} {_figure(last)}", curve.colour))
    everything = np.concatenate([p.value_S for _, pieces in drawn for p in pieces])
    _set_limits(axes, panel.scale, np.concatenate(seen), everything[np.isfinite(everything)])
    style.title(axes, panel.title, panel.unit)
    _mark_stages(axes, history)
    _mark_lost(axes, [piece for _, pieces in drawn for piece in pieces])
    style.label_ends(axes, ends)


def _scaled(pieces: list[Series], per: float) -> list[Series]:
    return [Series(piece.step_S, piece.value_S / per, piece.lost_L) for piece in pieces]


def _draw_line(axes: Axes, curve: Curve, piece: Series) -> Floats:
    thinned = thin(piece, smooth=curve.smooth)
    if len(piece.step_S) == 1:
        axes.plot(thinned.step_B, thinned.line_B, "o", color=curve.colour, markersize=5)
        return thinned.line_B
    if curve.smooth and len(piece.step_S) == len(thinned.step_B):
        axes.plot(piece.step_S, piece.value_S, color=curve.colour, linewidth=0.8, alpha=0.28)
    elif curve.smooth:
        axes.fill_between(
            thinned.step_B,
            thinned.low_B,
            thinned.high_B,
            color=curve.colour,
            alpha=0.18,
            linewidth=0,
        )
    axes.plot(thinned.step_B, thinned.line_B, color=curve.colour, linewidth=1.8)
    return thinned.line_B


def _draw_dots(axes: Axes, curve: Curve, piece: Series) -> Floats:
    axes.plot(
        piece.step_S,
        piece.value_S,
        "o-",
        color=curve.colour,
        markersize=4,
        linewidth=1.2,
        markeredgecolor=style.GROUND,
        markeredgewidth=0.6,
    )
    return piece.value_S


def _last_finite(value_S: Floats) -> float | None:
    finite = value_S[np.isfinite(value_S)]
    return float(finite[-1]) if finite.size else None


def _figure(value: float) -> str:
    """Three significant digits, as short as they can be read: 12.3k, 0.82, 41."""
    if abs(value) >= 1000:
        return f"{value / 1000:.3g}k" if abs(value) < 1e6 else f"{value / 1e6:.3g}M"
    return f"{value:.3g}"


def _set_limits(axes: Axes, scale: Scale, line: Floats, everything: Floats) -> None:
    """Limits that a single spike cannot spoil; what lies beyond them is said in words."""
    axes.margins(x=0.01)
    axes.locator_params(axis="x", integer=True, nbins=6)
    if not everything.size:
        axes.set_ylim(0, 1)
        return
    finite = line[np.isfinite(line)]
    low = min(float(np.quantile(everything, 0.005)), float(finite.min()))
    high = max(float(np.quantile(everything, 0.995)), float(finite.max()))
    positive = everything[everything > 0]
    if scale == "log where wide" and positive.size and high > 20 * np.median(positive):
        axes.set_yscale("log")
        axes.set_ylim(float(positive.min()) / 1.3, float(everything.max()) * 1.3)
        return
    if scale in ("from zero", "log where wide"):
        low = min(low, 0.0)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    floor = low if scale in ("from zero", "log where wide") and low == 0.0 else low - room
    ceiling = high + room
    if scale == "share":
        floor, ceiling = max(floor, 0.0), min(ceiling, 100.0 + room / 4)
    axes.set_ylim(floor, ceiling)
    beyond = float(everything.max())
    if beyond > ceiling:
        _note(axes, f"highest value {_figure(beyond)} lies above")
    axes.yaxis.set_major_formatter(_tick_formatter(ceiling))


def _tick_formatter(ceiling: float) -> Callable[[float, float], str]:
    if ceiling < 10_000:
        return lambda value, _: f"{value:g}"
    return lambda value, _: f"{value / 1000:g}k"


def _note(axes: Axes, text: str) -> None:
    axes.text(
        0.99,
        0.98,
        text,
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=8,
        color=style.GREY,
    )


def _mark_stages(axes: Axes, history: History) -> None:
    if len(history.spans) == 1:
        return
    axes.set_xlim(0, history.spans[-1].end * 1.01)
    for span in history.spans:
        if span.begin:
            axes.axvline(span.begin, color=style.GREY, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.annotate(
            style.shown(span.name),
            xy=(span.begin, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 1),
            textcoords="offset points",
            fontsize=8,
            color=style.GREY,
            va="bottom",
        )


def _mark_lost(axes: Axes, pieces: list[Series]) -> None:
    """A cross on the ground line where a value was NaN or infinite."""
    lost = np.unique(np.concatenate([piece.lost_L for piece in pieces]))
    if not lost.size:
        return
    height = np.full(len(lost), 0.03)
    transform = axes.get_xaxis_transform()
    axes.plot(lost, height, "x", color=style.VERMILION, transform=transform, markersize=6)
    steps = "1 step" if len(lost) == 1 else f"{len(lost)} steps"
    axes.text(
        0.99,
        0.05,
        f"× not finite: {steps}",
        transform=axes.transAxes,
        ha="right",
        fontsize=8,
        color=style.VERMILION,
    )
