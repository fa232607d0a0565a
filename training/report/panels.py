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

from common import pictures as style
from training.report.figures import short
from training.report.series import Floats, History, Series, Smooth, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scale = Literal["fit", "from zero", "share", "log where wide"]


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure of the metrics. `kind` is the records' kind; validations are drawn as dots.
    With `beside`, only records that have that figure too are meant."""

    kind: Literal["step", "validation"]
    key: str
    label: str
    colour: str
    smooth: Smooth = "mean"
    beside: str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: values are drawn divided by `per`, in `unit`; `suffix` follows figures in it."""

    file: str
    title: str
    unit: str
    curves: tuple[Curve, ...]
    scale: Scale = "fit"
    per: float = 1.0
    suffix: str = ""


# So many points of a curve can be told apart; of more, the spread is drawn.
_DRAWN_AS_THEY_ARE = 1600


def run_panels(history: History) -> list[Panel]:
    """The panels for which `history` has figures, the loss first."""
    has_kd = bool(history.series("step", "kd"))
    panels = [_kd_loss() if has_kd else _sft_loss(), *_FIGURES]
    return [panel for panel in panels if any(_pieces(history, curve) for curve in panel.curves)]


def _sft_loss() -> Panel:
    return Panel(
        "loss.png",
        "Loss",
        "nats per label",
        (
            Curve("step", "loss", "train", style.BLUE),
            Curve("validation", "nll", "val.", style.VERMILION),
        ),
    )


def _kd_loss() -> Panel:
    return Panel(
        "loss.png",
        "Loss and its parts",
        "nats per label",
        (
            Curve("step", "loss", "total", style.INK, beside="kd"),
            Curve("step", "ce", "CE", style.BLUE),
            Curve("step", "kd", "KD", style.VERMILION),
            Curve("validation", "nll", "val. CE", style.SKY),
            Curve("validation", "kd", "val. KD", style.ORANGE),
        ),
    )


_FIGURES = (
    Panel(
        "masses.png",
        "Mass on the top k: teacher P, student Q",
        "% of probability",
        (
            Curve("step", "teacher_mass", "P", style.GREEN),
            Curve("step", "student_mass", "Q", style.PURPLE),
        ),
        "share",
        0.01,
        " %",
    ),
    Panel(
        "agreement.png",
        "Same first choice as the teacher",
        "% of rows",
        (
            Curve("step", "agreement", "train", style.BLUE),
            Curve("validation", "agreement", "val.", style.VERMILION),
        ),
        "share",
        0.01,
        " %",
    ),
    Panel(
        "kd_share.png",
        "KD's share of the gradient",
        "% at the logits",
        (Curve("step", "kd_share", "", style.BLUE),),
        "share",
        0.01,
        " %",
    ),
    Panel(
        "gradient_norm.png",
        "Gradient norm",
        "before clipping",
        (Curve("step", "gradient_norm", "", style.BLUE, "median"),),
        "log where wide",
    ),
    Panel(
        "learning_rate.png",
        "Learning rate",
        "× 10⁻⁶",
        (Curve("step", "learning_rate", "", style.BLUE, smooth="none"),),
        "from zero",
        1e-6,
        " × 10⁻⁶",
    ),
    Panel(
        "throughput.png",
        "Throughput",
        "tokens per second",
        (Curve("step", "tokens_per_s", "", style.BLUE, "median"),),
        "from zero",
    ),
    Panel(
        "mfu.png",
        "Model FLOPs utilisation",
        "% of the peak",
        (Curve("step", "mfu", "", style.BLUE, "median"),),
        "from zero",
        0.01,
        " %",
    ),
    Panel(
        "memory.png",
        "Peak memory of a rank",
        "GiB",
        (Curve("step", "peak_memory_bytes", "", style.BLUE, smooth="none"),),
        "from zero",
        2.0**30,
        " GiB",
    ),
)


def draw_panel(axes: Axes, panel: Panel, history: History, *, large: bool) -> None:
    """Draws `panel` into `axes`; only where they are large are the stages named."""
    drawn: list[tuple[Curve, list[Series]]] = [
        (curve, pieces)
        for curve in panel.curves
        if (pieces := _scaled(_pieces(history, curve), panel.per))
    ]
    ends: list[tuple[float, str, str]] = []
    seen: list[Floats] = []
    for curve, pieces in drawn:
        draw = _draw_dots if curve.kind == "validation" else _draw_line
        lines = [draw(axes, curve, piece) for piece in pieces]
        seen += lines
        last = _last_finite(lines[-1])
        if last is not None:
            ends.append((last, f"{curve.label} {short(last)}{panel.suffix}".strip(), curve.colour))
    pieces = [piece for _, pieces in drawn for piece in pieces]
    measured = np.concatenate([piece.value_S for piece in pieces])
    lost = np.unique(np.concatenate([piece.lost_L for piece in pieces]))
    _set_steps(axes, history.spans[-1].end, ticks=6 if large else 5)
    finite = measured[np.isfinite(measured)]
    beyond = _set_limits(axes, panel.scale, np.concatenate(seen), finite)
    style.title(axes, panel.title, panel.unit)
    _mark_stages(axes, history, named=large)
    _mark_lost(axes, lost)
    said = f"× not finite: {len(lost)} step{'s' if len(lost) > 1 else ''}" if lost.size else None
    _note(axes, [note for note in (beyond, said) if note])
    style.label_ends(axes, ends)


def _pieces(history: History, curve: Curve) -> list[Series]:
    return history.series(curve.kind, curve.key, beside=curve.beside)


def _scaled(pieces: list[Series], per: float) -> list[Series]:
    return [Series(piece.step_S, piece.value_S / per, piece.lost_L) for piece in pieces]


def _draw_line(axes: Axes, curve: Curve, piece: Series) -> Floats:
    thinned = thin(piece, smooth=curve.smooth)
    if len(piece.step_S) == 1:
        axes.plot(thinned.step_B, thinned.line_B, "o", color=curve.colour, clip_on=False)
        return thinned.line_B
    if curve.smooth != "none" and len(piece.step_S) <= _DRAWN_AS_THEY_ARE:
        axes.plot(piece.step_S, piece.value_S, color=curve.colour, linewidth=0.7, alpha=0.4)
    elif curve.smooth != "none":
        axes.fill_between(
            thinned.step_B,
            thinned.low_B,
            thinned.high_B,
            color=curve.colour,
            alpha=0.25,
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
        clip_on=False,
    )
    return piece.value_S


def _last_finite(value_S: Floats) -> float | None:
    finite = value_S[np.isfinite(value_S)]
    return float(finite[-1]) if finite.size else None


def _set_steps(axes: Axes, end: int, *, ticks: int) -> None:
    axes.set_xlabel("step")
    axes.locator_params(axis="x", integer=True, nbins=ticks)
    axes.xaxis.set_major_formatter(_tick_formatter(end))
    axes.set_xlim(0, 1.01 * max(end, 1))


def _set_limits(axes: Axes, scale: Scale, line: Floats, finite: Floats) -> str | None:
    """Limits that a single spike cannot spoil; gives the words for what lies beyond them."""
    if not finite.size:
        axes.set_ylim(0, 1)
        return None
    bottom, top = float(finite.min()), float(finite.max())
    if scale == "log where wide" and bottom > 0 and top > 20 * float(np.median(finite)):
        axes.set_yscale("log")
        axes.set_ylim(bottom / 1.3, top * 1.3)
        return None
    grounded = scale in ("from zero", "log where wide") and bottom >= 0
    low = 0.0 if grounded else bottom
    usual = max(float(np.quantile(finite, 0.995)), float(np.nanmax(line)))
    high = usual if top - low > 1.5 * (usual - low) else top
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    floor, ceiling = low if grounded else low - room, high + room
    if bottom >= 0:
        floor = max(floor, 0.0)
    if scale == "share":
        ceiling = min(ceiling, 100.0 + room / 4)
    axes.set_ylim(floor, ceiling)
    axes.yaxis.set_major_formatter(_tick_formatter(ceiling))
    return f"highest: {short(top)}, off the scale" if top > ceiling else None


def _tick_formatter(ceiling: float) -> Callable[[float, float], str]:
    if ceiling < 10_000:
        return lambda value, _: f"{value:g}"
    return lambda value, _: f"{value / 1000:g}k" if value else "0"


def _note(axes: Axes, lines: list[str]) -> None:
    """Small print inside the panel's upper right corner."""
    axes.text(
        0.99,
        0.98,
        "\n".join(lines),
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=8,
        color=style.GREY,
        bbox={"facecolor": style.GROUND, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )


def _mark_stages(axes: Axes, history: History, *, named: bool) -> None:
    if len(history.spans) == 1:
        return
    for span in history.spans:
        if span.begin:
            axes.axvline(span.begin, color=style.GREY, linewidth=0.8, linestyle=(0, (3, 3)))
        if named:
            axes.annotate(
                style.shown(span.name),
                xy=(span.begin, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(5, -2),
                textcoords="offset points",
                fontsize=9,
                color=style.GREY,
                va="top",
            )


def _mark_lost(axes: Axes, lost: Floats) -> None:
    """A cross on the ground line where a value was NaN or infinite."""
    height = np.full(len(lost), 0.03)
    transform = axes.get_xaxis_transform()
    axes.plot(lost, height, "x", color=style.VERMILION, transform=transform, markersize=6)
