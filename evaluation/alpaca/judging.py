"""How AlpacaEval 2's judge is asked, and how a preference is read from its log-probabilities.

Source: alpaca_eval's annotator `weighted_alpaca_eval_gpt4_turbo` (arXiv 2404.04475). The judge sees
two outputs under the names m and M in an order drawn from the instruction, answers with one token,
and the probabilities of the two names among its five likeliest tokens are the preference: 1 for the
baseline, 2 for the model, anything between.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from common.paths import prompts_folder
from teachers.types import Completion, Message, Sampling

PROMPT_FILE = "evaluation/alpaca_eval_judge.txt"
SAMPLING = Sampling(temperature=1.0, max_tokens=1, top_logprobs=5)
_FIRST, _SECOND = "m", "M"
_TURN = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)<\|im_end\|>", re.DOTALL)
_PLACE = re.compile(r"\{(instruction|output_1|output_2)\}")


@cache
def judge_prompt() -> str:
    """The published prompt, as it stands."""
    return (prompts_folder() / PROMPT_FILE).read_text(encoding="utf-8")


def is_switched(instruction: str) -> bool:
    """Whether the model's output is shown first: alpaca_eval's own draw, with its seed 0."""
    return random.Random(f"is_switched_outputs{instruction}0").choices([False, True], k=1)[0]


def judge_messages(instruction: str, baseline: str, output: str) -> list[Message]:
    """The conversation that the judge is sent."""
    first, second = (output, baseline) if is_switched(instruction) else (baseline, output)
    filling = {"instruction": instruction, "output_1": first, "output_2": second}
    messages = []
    for role, text in _TURN.findall(judge_prompt()):
        # Cut into turns before it is filled, so that no output can end a turn; each place once.
        filled = _PLACE.sub(lambda place: filling[place[1]], text.strip())
        messages.append(Message(role, filled))
    return messages


def preference_of(
    completion: Completion, instruction: str
) -> tuple[float | None, Literal["logprobs", "text", "none"]]:
    """The preference between 1 and 2, and what it was read from.

    Without log-probabilities the one token that was said decides; where neither name is there, the
    pair has no preference and is left out, as the library leaves it out.
    """
    found, source = _first_is_better(completion)
    if found is None:
        return None, "none"
    shown = 2.0 - found
    return (3.0 - shown if is_switched(instruction) else shown), source


def _first_is_better(
    completion: Completion,
) -> tuple[float | None, Literal["logprobs", "text", "none"]]:
    """The probability that the output shown first is the better one."""
    content = (completion.logprobs or {}).get("content")
    if content:
        likeliest = _likeliest(content[0])
        first, second = likeliest.get(_FIRST), likeliest.get(_SECOND)
        if first is None and second is None:
            return None, "none"
        if first is None or second is None:
            return (1.0 if second is None else 0.0), "logprobs"
        return _ratio(first, second), "logprobs"
    said = completion.content.strip()
    return (
        ((1.0 if said == _FIRST else 0.0), "text") if said in (_FIRST, _SECOND) else (None, "none")
    )


def _likeliest(token: Mapping[str, Any]) -> dict[str, float]:
    return {entry["token"]: float(entry["logprob"]) for entry in token.get("top_logprobs") or ()}


def _ratio(first: float, second: float) -> float:
    """exp(first) / (exp(first) + exp(second))."""
    if first < second:
        small = math.exp(first - second)
        return small / (1.0 + small)
    return 1.0 / (1.0 + math.exp(second - first))
