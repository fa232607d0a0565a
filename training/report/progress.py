"""What a user sees while a stage trains: a live panel on a terminal, lines where there is none.

In: the records of `metrics.jsonl`, one by one, as the ranks write them. Out: a rich renderable that
always shows the newest state, or a line every so often. After a resume the same steps may come
again: they take the place of the old ones. Nothing here needs torch.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from training.report.figures import gibibytes, percent, short, span
from training.report.reading import Record

_BARS = "▁▂▃▄▅▆▇█"
_SPARKS = 40  # columns of the loss's sparkline
_RECENT = 20  # steps whose median length tells the time left


class TrainProgress:
    """The state of one stage, rendered whenever rich asks.

    Args:
        name: the recipe's name.
        stage: the stage's name.
        steps: how many steps it has.
    """

    def __init__(self, name: str, stage: str, steps: int) -> None:
        self._name, self._stage, self._steps = name, stage, steps
        self._losses: list[tuple[int, float | None]] = []
        self._seconds: list[float] = []
        self._last: Record = {}
        self._validation: Record = {}
        self._checkpoint: int | None = None

    def update(self, record: Record) -> None:
        """Takes one record of the metrics, of any kind."""
        kind, step = record["kind"], record["step"]
        if kind == "step":
            while self._losses and self._losses[-1][0] >= step:
                self._losses.pop()
            self._losses.append((step, record["loss"]))
            self._seconds = [*self._seconds[1 - _RECENT :], record["seconds"]]
            self._last = record
        elif kind == "validation":
            self._validation = record
        elif record["name"] == "checkpoint":
            self._checkpoint = step

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the last steps' median; None before the second, since the first one
        compiles and warms up."""
        if len(self._seconds) < 2:
            return None
        steps_left: int = self._steps - self._last["step"]
        return statistics.median_low(self._seconds) * steps_left

    def sparkline(self, width: int = _SPARKS) -> str:
        """The loss from the first step to the last, lowest to highest; a gap where it was null."""
        count = len(self._losses)
        edges = [index * count // min(width, count) for index in range(min(width, count) + 1)]
        means: list[float | None] = []
        for begin, end in itertools.pairwise(edges):
            part = [loss for _, loss in self._losses[begin:end] if loss is not None]
            means.append(sum(part) / len(part) if part else None)
        known = [mean for mean in means if mean is not None]
        low, high = min(known, default=0.0), max(known, default=0.0)
        scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
        return "".join(
            " " if mean is None else _BARS[round((mean - low) * scale)] for mean in means
        )

    def line(self) -> str:
        """The newest step in one line."""
        if not self._last:
            return f"{self._name} {self._stage}: {self._steps} steps, none done yet"
        left = self.seconds_left
        parts = [
            f"{self._stage} {self._last['step']}/{self._steps}, epoch {self._last['epoch']:.2f}",
            f"loss {_value(self._last, 'loss')}{_in_brackets(self._parts())}",
            *self._distillation(),
            f"learning rate {_value(self._last, 'learning_rate')}",
            f"gradient norm {_value(self._last, 'gradient_norm')}",
            *self._speed(),
        ]
        if left:
            parts.append(f"{span(left)} left")
        return ", ".join(parts)

    def validation_line(self) -> str:
        """The newest validation in one line."""
        said = self._validation
        parts = [
            f"{_value(said, 'nll')} nats per label",
            f"perplexity {_value(said, 'perplexity')}",
        ]
        if "kd" in said:
            parts.append(f"KD {_value(said, 'kd')}")
        return f"{', '.join(parts)} at step {said['step']}"

    def __rich__(self) -> RenderableType:
        title = Text.assemble((self._name, "bold"), f"  {self._stage}")
        if not self._last:
            return Group(title, Text(f"{self._steps} steps, none done yet", style="dim"))
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column()
        for name, value in self._rows():
            rows.add_row(name, value)
        return Group(title, self._bar(), rows)

    def _bar(self) -> RenderableType:
        step, left = self._last["step"], self.seconds_left
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=self._steps, completed=step, width=40),
            f"{step}/{self._steps} steps",
            f"epoch {self._last['epoch']:.2f}",
            f"{span(left)} left" if left else "",
        )
        return bar

    def _rows(self) -> list[tuple[str, Text]]:
        lost = self._last["loss"] is None
        loss = Text.assemble(
            (_value(self._last, "loss"), "bold red" if lost else "bold"),
            _in_brackets(self._parts()),
            "  ",
            (self.sparkline(), "cyan"),
        )
        rows = [("loss", loss)]
        if self._validation:
            rows.append(("validation", Text(self.validation_line())))
        distillation = self._distillation()
        if distillation:
            rows.append(("distillation", Text(", ".join(distillation))))
        optimizer = (
            f"learning rate {_value(self._last, 'learning_rate')}, "
            f"gradient norm {_value(self._last, 'gradient_norm')}"
        )
        rows.append(("optimizer", Text(optimizer)))
        rows.append(("speed", Text(", ".join(self._speed()))))
        if self._checkpoint is not None:
            rows.append(("checkpoint", Text(f"step {self._checkpoint}")))
        return rows

    def _parts(self) -> list[str]:
        if "kd" not in self._last:
            return []
        return [
            f"{name} {_value(self._last, key)}"
            for name, key in (("CE", "ce"), ("KD", "kd"))
            if key in self._last
        ]

    def _distillation(self) -> list[str]:
        names = {
            "teacher_mass": "teacher P {}",
            "student_mass": "student Q {}",
            "agreement": "same first choice {}",
            "kd_share": "share of the gradient {}",
        }
        return [
            words.format(_value(self._last, key, percent))
            for key, words in names.items()
            if key in self._last
        ]

    def _speed(self) -> list[str]:
        parts = [f"{_value(self._last, 'tokens_per_s')} tokens/s"]
        if "mfu" in self._last:
            parts.append(f"MFU {_value(self._last, 'mfu', percent)}")
        if "peak_memory_bytes" in self._last:
            parts.append(f"peak memory {_value(self._last, 'peak_memory_bytes', gibibytes)}")
        return parts


class PlainProgress:
    """The same as lines for a log: the first step, the last, and one every `every_s` seconds;
    validations and events as they come.

    Args:
        name: the recipe's name.
        stage: the stage's name.
        steps: how many steps it has.
        print: takes one line.
        every_s: seconds between two lines of steps.
    """

    def __init__(
        self,
        name: str,
        stage: str,
        steps: int,
        *,
        print: Callable[[str], object],
        every_s: float = 30.0,
    ) -> None:
        self._state = TrainProgress(name, stage, steps)
        self._stage, self._steps = stage, steps
        self._print, self._every_s = print, every_s
        self._said_at: float | None = None

    def update(self, record: Record) -> None:
        """Takes one record of the metrics, of any kind; says it if it is time."""
        self._state.update(record)
        kind, step = record["kind"], record["step"]
        if kind == "step":
            now = time.monotonic()
            due = self._said_at is None or now - self._said_at >= self._every_s
            if due or step >= self._steps or "not_finite" in record:
                self._said_at = now
                self._print(self._state.line())
        elif kind == "validation":
            self._print(f"{self._stage} validation: {self._state.validation_line()}")
        else:
            self._print(f"{self._stage} {record['name'].replace('_', ' ')} at step {step}")


class CorpusProgress:
    """A line every so often while a corpus is tokenised, which a large one takes minutes for; one
    that is done before the first is due needs none.

    Args:
        print: takes one line.
        every_s: seconds between two lines.
    """

    def __init__(self, print: Callable[[str], object], *, every_s: float = 5.0) -> None:
        self._print, self._every_s = print, every_s
        self._said_at = time.monotonic()

    def __call__(self, done: int, rows: int) -> None:
        """Takes how many of the corpus's rows are done."""
        now = time.monotonic()
        if now - self._said_at >= self._every_s:
            self._said_at = now
            self._print(f"tokenising: {done:,} of {rows:,} samples")


def _value(record: Record, key: str, words: Callable[[float], str] = short) -> str:
    """The figure in words; what it was instead where it was not finite."""
    value = record.get(key)
    if value is not None:
        return words(value)
    return str(record.get("not_finite", {}).get(key, "unknown"))


def _in_brackets(parts: list[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""
