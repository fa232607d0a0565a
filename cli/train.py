"""`stillhouse train sft|kd|all`: runs a recipe's stages, shows them live, says what they left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.entry import at_work
from cli.show import console, print_json
from common.errors import StillhouseError
from common.recipes import RecipeError
from training.recipe import StageSettings, TrainRecipe, load_train_recipe

if TYPE_CHECKING:
    from training.engine.spec import StageSpec
    from training.engine.stages import StageReport


class TrainerMissing(StillhouseError):
    """The trainer's packages are not installed."""

    code = "trainer_missing"


def need_trainer() -> None:
    """Says how to install the trainer, where torch or its companions are missing."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers", "deepspeed") if find_spec(name) is None]
    if missing:
        raise TrainerMissing(
            "The trainer is not installed here.",
            cause=f"Missing: {', '.join(missing)}.",
            solution="Install it beside the factory; it is about 1 GB on a machine without a GPU.",
            command="make train",
        )


def train_command(recipe_path: str, set_: list[str], kind: str, restart: bool, json: bool) -> int:
    """Trains; returns the exit code."""
    recipe = load_train_recipe(recipe_path, set_)
    stages = [stage for stage in recipe.stages if kind in ("all", stage.kind)]
    if not stages:
        raise RecipeError(
            f"The recipe has no {kind.upper()} stage.",
            cause=f"Its stages: {', '.join(f'{s.name} ({s.kind})' for s in recipe.stages)}.",
            solution="Add one, or run another kind.",
        )
    need_trainer()
    # Nothing but the ranks needs the hub's progress bars, and they would spoil the display.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # A scheduler's SIGTERM is a person's Ctrl-C: the ranks are asked to end, the books are closed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        reports, corpus = _train(recipe, stages, restart)
    except KeyboardInterrupt:
        _line("Stopped. The same command goes on from the last checkpoint.")
        return 130
    _show(reports)
    if json:
        said = [_plain(each) for each in reports]
        print_json({"recipe": recipe.name, "corpus": corpus, "stages": said})
    return 0


def _train(
    recipe: TrainRecipe, stages: list[StageSettings], restart: bool
) -> tuple[list[StageReport], dict[str, Any]]:
    from training.engine.stages import train
    from training.report.progress import CorpusProgress

    at_work()
    with ExitStack() as stack:
        show = _Display(recipe.name, stack)
        done = train(
            recipe,
            stages,
            restart=restart,
            on_corpus=CorpusProgress(_line),
            on_stage=show.begin,
            on_record=show.record,
            on_note=_line,
        )
        return done, show.corpus


class _Display:
    """The live view of the stage that is running; plain lines where there is no terminal."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self._name = name
        self._stack = stack
        self._update: Callable[[dict[str, Any]], None] = lambda record: None
        self._said: dict[str, Any] = {}
        self.corpus: dict[str, Any] = {}

    def begin(self, spec: StageSpec, steps: int) -> None:
        from training.report.progress import PlainProgress, TrainProgress

        self._stack.close()
        counts = _counts(spec)
        if counts != self._said:
            _line(_sentence(counts))
        self._said = counts
        self.corpus = self.corpus or counts
        if console.is_terminal:
            view = TrainProgress(self._name, spec.name, steps)
            live = Live(view, console=console, refresh_per_second=4, transient=False)
            self._stack.enter_context(live)
            self._update = view.update
        else:
            plain = PlainProgress(self._name, spec.name, steps, print=_line)
            self._update = plain.update

    def record(self, record: dict[str, Any]) -> None:
        self._update(record)


def _counts(spec: StageSpec) -> dict[str, Any]:
    """What becomes of the corpus's samples in a stage."""
    from training.data.tokenised import TokenisedCorpus
    from training.engine.teaching import Teaching

    tokens = TokenisedCorpus.open(spec.corpus)
    train, held_out = len(tokens.train), len(tokens.validation)
    if spec.teaching is not None:
        taught_E = Teaching.taught_in(spec.teaching)
        train, held_out = (int(taught_E[part].sum()) for part in (tokens.train, tokens.validation))
    return {
        "train": train,
        "held_out": held_out,
        "untaught": len(tokens) - train - held_out,
        "lost": tokens.lost,
        "truncated": tokens.truncated,
    }


def _sentence(corpus: dict[str, Any]) -> str:
    parts = [f"{corpus['train']:,} examples to train on, {corpus['held_out']:,} held out"]
    parts += [f"{n:,} dropped ({reason.replace('_', ' ')})" for reason, n in corpus["lost"].items()]
    if corpus["truncated"]:
        parts.append(f"{corpus['truncated']:,} truncated")
    if corpus["untaught"]:
        parts.append(f"{corpus['untaught']:,} left out, because no teacher can say them")
    return "corpus: " + "; ".join(parts)


def _line(text: str) -> None:
    console.print(Text(text))


def _show(reports: list[StageReport]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("stage", "outcome", "steps", "seconds", "model"):
        table.add_column(name, justify="right" if name in ("steps", "seconds") else "left")
    for each in reports:
        table.add_row(
            each.name,
            "trained" if each.outcome == "trained" else "done before, kept",
            f"{each.steps:,}",
            f"{each.seconds:,.1f}",
            Text(str(each.model)),
        )
    console.print(table)
    console.print(Text(f"plots: {reports[0].folder.parent / 'plots'}"))


def _plain(report: StageReport) -> dict[str, Any]:
    return {key: value if isinstance(value, int | float) else str(value)
            for key, value in asdict(report).items()}  # fmt: skip
