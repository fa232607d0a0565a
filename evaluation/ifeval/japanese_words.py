"""Japanese words and sentences for IFEval: janome's words, ja-sentence-segmenter's sentences.

The reference scorer of M-IFEval uses these two, so what a word and a sentence is agrees with it.
"""

from __future__ import annotations

import importlib
from functools import cache, partial
from typing import Any, NamedTuple

from evaluation.errors import DataMissing


class Word(NamedTuple):
    """A word as it stands in the text, and whether it is a noun."""

    surface: str
    is_noun: bool


def words_of(text: str) -> list[Word]:
    """The text's words, by IPADIC."""
    return [
        Word(token.surface, token.part_of_speech.startswith("名詞"))
        for token in _tokenizer().tokenize(text)
    ]


def count_sentences(text: str) -> int:
    """How many sentences: lines are cut after 。, ! and ?, except inside 「」 and (); a line that
    ends with の goes on in the next."""
    return sum(1 for _ in _segmenter()(text))


@cache
def _tokenizer() -> Any:
    return _module("janome.tokenizer").Tokenizer()


@cache
def _segmenter() -> Any:
    joined = _module("ja_sentence_segmenter.concatenate.simple_concatenator")
    split = _module("ja_sentence_segmenter.split.simple_splitter")
    return _module("ja_sentence_segmenter.common.pipeline").make_pipeline(
        _module("ja_sentence_segmenter.normalize.neologd_normalizer").normalize,
        split.split_newline,
        partial(
            joined.concatenate_matching,
            former_matching_rule=r"^(?P<result>.+)(の)$",
            remove_former_matched=False,
        ),
        partial(split.split_punctuation, punctuations="。!?"),
    )


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise DataMissing(
            "What checks Japanese instructions is not installed.",
            cause=f"Python module '{error.name}' is missing.",
            solution="Install the extra `eval`.",
            command="pip install -c constraints.txt -e '.[eval]'",
        ) from error
