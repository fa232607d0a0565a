"""How many tokens a recipe trains on: said by the user, or estimated from the exported file.

In: the recipe's manifest and the `--samples`, `--tokens-per-sample`, `--response-share` options.
Out: a `TokenEstimate`, or None where neither says enough. The estimate needs no tokenizer: it
counts characters, at 0.3 tokens for one of a Latin script and 0.6 for a Han character (DeepSeek's
API documentation, "Token & Token Usage"; its tokenizer, like Qwen2.5's, is a byte-level BPE of more
than 100,000 tokens). Kana are counted at 0.7, which is our own choice, and so is everything else
that is not Latin. A turn costs five more tokens in a ChatML template.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.data.manifest import Manifest, read_manifest
from training.data.record import BadLine, Record, read_line
from training.errors import CorpusRefused
from training.plan.gpus import PlanRefused
from training.recipe import TrainRecipe

PER_LATIN, PER_HAN, PER_OTHER, PER_TURN = 0.3, 0.6, 0.7, 5
RULE = (
    f"characters: {PER_LATIN} tokens each in Latin scripts, {PER_HAN} Han, {PER_OTHER} kana and "
    f"others, {PER_TURN} per turn; an estimate, no tokenizer was asked"
)
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_LATIN = re.compile(r"[\x00-\u024f\u2000-\u206f]+")


@dataclass(frozen=True, slots=True)
class TokenEstimate:
    """A corpus in tokens. `pairs` is the mean number of (token, seen token) pairs of a sample."""

    samples: int
    tokens_per_sample: float
    response_share: float
    pairs: float
    left_out: int
    rule: str

    @property
    def tokens(self) -> float:
        """All tokens, prompts included, of one pass over the corpus."""
        return self.samples * self.tokens_per_sample

    @property
    def rows(self) -> float:
        """Tokens that are trained on (and that a teacher's rows are kept for)."""
        return self.tokens * self.response_share


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """What the user says of the corpus; None where nothing is said."""

    samples: int | None = None
    tokens_per_sample: int | None = None
    response_share: float | None = None

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            PlanRefused: a number is not above 0, or a share above 1.
        """
        said = {
            "--samples": self.samples,
            "--tokens-per-sample": self.tokens_per_sample,
            "--response-share": self.response_share,
        }
        for name, value in said.items():
            if value is not None and not (0 < value <= (1 if "share" in name else 10**15)):
                raise PlanRefused(
                    f"'{name} {value}' cannot be.",
                    cause="It has to be above 0, and a share at most 1.",
                    solution="Correct the option.",
                )


def estimate_tokens(recipe: TrainRecipe, options: TokenOptions) -> TokenEstimate | None:
    """The corpus in tokens; None where there is no export yet and the options don't say it all.

    Raises:
        PlanRefused: an option cannot be.
        CorpusRefused: there is an export, and its manifest or a line of it is broken.
    """
    options.check()
    path = Path(recipe.corpus.manifest)
    manifest = read_manifest(path) if path.exists() else None
    samples = options.samples or (manifest.rows if manifest else None)
    if options.tokens_per_sample and options.response_share and samples:
        each = min(options.tokens_per_sample, recipe.data.context)
        rule = "as given by the options" if options.samples else "rows from the manifest"
        pairs = each * (each + 1) / 2
        return TokenEstimate(samples, each, options.response_share, pairs, 0, rule)
    if manifest is None or not (path.parent / manifest.file).is_file():
        return None
    counted = _count(path.parent / manifest.file, manifest, recipe)
    if counted is None:
        return None
    scale = 1.0
    if options.tokens_per_sample:
        scale = options.tokens_per_sample / counted.tokens_per_sample
    return TokenEstimate(
        samples=options.samples or counted.samples,
        tokens_per_sample=counted.tokens_per_sample * scale,
        response_share=options.response_share or counted.response_share,
        pairs=counted.pairs * scale**2,
        left_out=counted.left_out,
        rule=RULE,
    )


def text_tokens(text: str) -> float:
    """Tokens of a text by the rule above."""
    han, latin = (sum(map(len, runs.findall(text))) for runs in (_HAN, _LATIN))
    return PER_HAN * han + PER_LATIN * latin + PER_OTHER * (len(text) - han - latin)


def _count(file: Path, manifest: Manifest, recipe: TrainRecipe) -> TokenEstimate | None:
    samples = left_out = 0
    tokens = rows = pairs = 0.0
    context = recipe.data.context
    for record in _records(file, manifest):
        answer = sum(_turn(m["content"]) for m in record.messages if m["role"] == "assistant")
        each = answer + sum(
            _turn(m["content"]) for m in record.messages if m["role"] != "assistant"
        )
        if each > context and recipe.data.too_long != "truncate":
            left_out += 1
            continue
        kept = min(each, context)
        samples += 1
        tokens += kept
        rows += max(0.0, answer - (each - kept))
        pairs += kept * (kept + 1) / 2
    if not samples:
        return None
    return TokenEstimate(samples, tokens / samples, rows / tokens, pairs / samples, left_out, RULE)


def _turn(text: str) -> float:
    return text_tokens(text) + PER_TURN


def _records(file: Path, manifest: Manifest) -> Iterator[Record]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield read_line(line, manifest.format)
            except BadLine as error:
                raise CorpusRefused(
                    f"Line {number} of '{file}' is no exported sample.",
                    cause=f"{error}.",
                    solution="Export the corpus again.",
                ) from error
