"""IFEval's verdicts and figures: strict and loose, per instruction and per prompt.

Source: arXiv 2311.07911, section 2. Strict takes a response as it is. Loose takes it also without
its first line, its last line, both, and each of these without asterisks; one that follows is
enough. An empty response follows nothing.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.ifeval.english import english_checker
from evaluation.ifeval.japanese import japanese_checker

Follows = Callable[[str], bool]
# The checkers' libraries load themselves on first use, and none says that two threads may.
_ONE_AT_A_TIME = threading.Lock()
_CHECKERS: dict[str, Callable[[str, Mapping[str, Any], str], Follows]] = {
    "en": english_checker,
    "ja": japanese_checker,
}


@dataclass(frozen=True, slots=True)
class Followed:
    """Which of a prompt's instructions a response follows, in their order."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


def check_response(
    language: str,
    prompt: str,
    instruction_ids: Sequence[str],
    arguments: Sequence[Mapping[str, Any]],
    response: str,
) -> Followed:
    """Checks one response against all instructions of its prompt; from any thread.

    Raises:
        DataMissing: an instruction is not known.
    """
    make = _CHECKERS[language]
    strict, loose = [], []
    variants = list(loose_variants(response))
    with _ONE_AT_A_TIME:
        for instruction_id, given in zip(instruction_ids, arguments, strict=True):
            follows = make(instruction_id, given, prompt)
            strict.append(bool(response.strip()) and follows(response))
            loose.append(any(bool(text.strip()) and follows(text) for text in variants))
    return Followed(tuple(strict), tuple(loose))


def check_instructions(
    language: str, prompt: str, instruction_ids: Sequence[str], arguments: Sequence[Any]
) -> None:
    """Sees to it that every instruction can be checked, before anyone has answered the prompt.

    Raises:
        DataMissing: an instruction is not known, or its arguments are others.
    """
    for instruction_id, given in zip(instruction_ids, arguments, strict=True):
        _CHECKERS[language](instruction_id, given, prompt)


def loose_variants(response: str) -> Iterator[str]:
    """The response as loose scoring takes it, without repetitions."""
    lines = response.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    seen: set[str] = set()
    for text in (response, *cut):
        for variant in (text, text.replace("*", "")):
            if variant not in seen:
                seen.add(variant)
                yield variant


def ifeval_metrics(verdicts: Sequence[Followed]) -> dict[str, float]:
    """The four scores, as percentages of prompts and of instructions."""
    prompts = len(verdicts)
    instructions = sum(len(v.strict) for v in verdicts)
    return {
        "prompt_strict": 100 * sum(all(v.strict) for v in verdicts) / prompts,
        "instruction_strict": 100 * sum(sum(v.strict) for v in verdicts) / instructions,
        "prompt_loose": 100 * sum(all(v.loose) for v in verdicts) / prompts,
        "instruction_loose": 100 * sum(sum(v.loose) for v in verdicts) / instructions,
    }


def per_instruction(
    instruction_ids: Sequence[Sequence[str]], verdicts: Sequence[Followed]
) -> dict[str, dict[str, int]]:
    """How many of each instruction were followed: `{id: {total, strict, loose}}`."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"total": 0, "strict": 0, "loose": 0})
    for ids, verdict in zip(instruction_ids, verdicts, strict=True):
        for name, strict, loose in zip(ids, verdict.strict, verdict.loose, strict=True):
            counts[name]["total"] += 1
            counts[name]["strict"] += strict
            counts[name]["loose"] += loose
    return dict(sorted(counts.items()))
