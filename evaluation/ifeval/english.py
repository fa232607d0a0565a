"""English instructions, checked by the official checkers that lm-eval carries.

In: an instruction's id, its arguments and the prompt. Out: a function that says whether a response
follows it. Equal responses get equal verdicts, which the official checkers alone do not grant: the
language detector is seeded here, where the letter to count is a sign (`!`, `#`), that sign is
counted instead of a letter drawn at random, and an argument that is missing is refused, for which
they would draw one.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from evaluation.errors import DataMissing
from evaluation.ifeval.punkt_data import provide_punkt, sentence_counter

Follows = Callable[[str], bool]


def english_checker(instruction_id: str, arguments: Mapping[str, Any], prompt: str) -> Follows:
    """A checker for one instruction. `instruction_id` may begin with `en:`, as M-IFEval has it.

    Raises:
        DataMissing: there is no such instruction, its arguments are others, or the extra `eval` is
            not installed.
    """
    known, _ = _registry()
    name = instruction_id.removeprefix("en:")
    if name not in known:
        raise DataMissing(
            f"IFEval has no instruction '{instruction_id}'.",
            cause="The checkers of lm-eval do not know it.",
            solution=f"Known: {', '.join(sorted(known))}.",
        )
    given = {key: value for key, value in arguments.items() if value is not None}
    instruction = known[name](name)
    _build(instruction, instruction_id, given)
    if "prompt" in (instruction.get_instruction_args() or {}):
        instruction.build_description(prompt=prompt)

    letter = given.get("letter")
    if name == "keywords:letter_frequency" and letter and not _is_ascii_letter(letter):
        instruction._letter = letter

    def follows(response: str) -> bool:
        try:
            return bool(instruction.check_following(response))
        except RecursionError:
            # A model that says `[` over and over: no JSON that anyone could read.
            return False

    return follows


def _build(instruction: Any, instruction_id: str, given: Mapping[str, Any]) -> None:
    expected = {*instruction.get_instruction_args_keys()} - {"prompt"}
    try:
        if expected != given.keys():
            raise ValueError(f"It takes {sorted(expected)}, and {sorted(given)} are given.")
        instruction.build_description(**given)
    except (TypeError, ValueError) as error:
        raise DataMissing(
            f"The instruction '{instruction_id}' of a prompt has other arguments than expected.",
            cause=str(error),
            solution="Give IFEval's own data file.",
        ) from error


def _is_ascii_letter(letter: str) -> bool:
    return letter.isascii() and letter.isalpha()


def english_tools() -> dict[str, str]:
    """What checks here, for the evaluation's settings."""
    _, punkt = _registry()
    tools = {name: version(name) for name in ("lm-eval", "langdetect", "nltk")}
    return tools | {"sentences": punkt}


@cache
def _registry() -> tuple[dict[str, Any], str]:
    try:
        punkt = provide_punkt()
        detector = importlib.import_module("langdetect.detector_factory")
        registry = importlib.import_module("lm_eval.tasks.ifeval.instructions_registry")
        util: Any = importlib.import_module("lm_eval.tasks.ifeval.instructions_util")
    except ModuleNotFoundError as error:
        raise DataMissing(
            "The IFEval checkers are not installed.",
            cause=f"Python module '{error.name}' is missing.",
            solution="Install the extra `eval`.",
            command="pip install -c constraints.txt -e '.[eval]'",
        ) from error
    detector.DetectorFactory.seed = 0
    util.count_sentences = sentence_counter()
    # They log whole responses whose language nobody can tell.
    logging.getLogger("lm_eval.tasks.ifeval").setLevel(logging.CRITICAL)
    return dict(registry.INSTRUCTION_DICT), punkt
