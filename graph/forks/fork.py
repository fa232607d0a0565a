"""What a fork is asked to do, and what is written down about it.

In: a `Fork`, as a person wishes it. Out: a `Draft`, the fork's folder with its facts. The folder:

    fork.json    what was asked for and of whom; written once
    recipe.yaml  the recipe with the change in it
    prompts/     every prompt that it walks with
    corpus.db    the fork's own corpus: one seed, and what came of it
    error.json   what stopped it last, if anything did
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["running", "finished", "unfinished"]


@dataclass(frozen=True, slots=True)
class Fork:
    """The wish: to ask from `agent` on again. Without `teacher` and `prompt` nothing else changes.

    Args:
        id: a sample or seed, by its identifier or its beginning.
        agent: where to begin, see `graph.forks.steps`.
        teacher: who plays that agent now, as the recipe calls it.
        prompt: that agent's prompt, a file's whole text.
        prompt_name: which of the agent's prompts, where it has two.
        who: who wishes it.
    """

    id: str
    agent: str
    teacher: str | None = None
    prompt: str | None = None
    prompt_name: str | None = None
    who: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What `fork.json` holds. `teacher` and `prompt` are None where they were not changed;
    `old_prompt` is the text that the sample went through, `prompt_setting` the recipe's key for it.
    `variant` is the only draft that walks, None for all. `asked` identifies the wish, so that the
    same one finds its unfinished fork again; `created_at` is ISO 8601. `corpus` is what the corpus
    is called, `corpus_id` its first run, which tells it from others with the same seeds."""

    id: str
    corpus: str
    corpus_id: str
    recipe: str
    seed_id: str
    sample_id: str | None
    variant: int | None
    step: str
    agent: str
    old_teacher: str
    teacher: str | None
    prompt_name: str
    prompt_setting: str
    old_prompt: str
    prompt: str | None
    who: str | None
    asked: str
    created_at: str

    @property
    def change(self) -> str:
        """What was changed, in words."""
        words = []
        if self.teacher is not None:
            words.append(f"teacher {self.old_teacher} → {self.teacher}")
        if self.prompt is not None:
            words.append(f"prompt {self.prompt_name} edited")
        return "; ".join(words) or "nothing, asked again"


@dataclass(frozen=True, slots=True)
class Told:
    """An error as it was told; see `common.errors`."""

    code: str
    what: str
    cause: str
    solution: str
    command: str | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What the fork has spent by itself. `usd` is None where a price is unknown."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A fork that is gone; what it was is None where its folder could not be read."""

    id: str
    facts: Facts | None


@dataclass(frozen=True, slots=True)
class Draft:
    """One fork as it stands; `error` is what stopped it last, where it did not end by itself."""

    folder: Path
    facts: Facts
    state: State
    spent: Spent
    error: Told | None

    @property
    def database(self) -> str:
        """The fork's own corpus, as `Database.open` takes it."""
        return str(self.folder / "corpus.db")
