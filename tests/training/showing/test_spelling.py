"""Ids as words, with tokenizers that cut characters in the two ways there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from training.errors import ModelRefused, TokenizerRefused
from training.recipe import ModelSettings
from training.showing.spelling import Numbers, Words
from training.vocabulary import tokenizer_fingerprint

TEXT = "The sea 海は青い。"


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator([], trainers.BpeTrainer(
        special_tokens=["<|end|>"], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    ))  # fmt: skip
    return made


def byte_fallback() -> Tokenizer:
    vocab = {"<unk>": 0} | {f"<0x{n:02X}>": n + 1 for n in range(256)}
    for token in ("▁", "▁The", "▁sea", "海", "は"):
        vocab[token] = len(vocab)
    vocab |= {letter: len(vocab) + n for n, letter in enumerate("Thesa")}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    return made


def opened(folder: Path, tokenizer: Tokenizer) -> Words:
    tokenizer.save(str(folder / "tokenizer.json"))
    return Words.open(ModelSettings(model=str(folder)), tokenizer_fingerprint(folder))


def test_tokens_of_one_character_come_together_and_none_is_lost(tmp_path: Path) -> None:
    tokenizer = byte_level()
    words = opened(tmp_path, tokenizer)
    ids = tokenizer.encode(TEXT).ids
    parts = list(words.together(ids))
    assert "".join(text for text, _ in parts) == TEXT
    assert [text for text, _ in parts] == list(TEXT)
    assert [count for _, count in parts] == [len(letter.encode()) for letter in TEXT]


def test_what_else_could_end_a_character_is_read_after_its_beginning(tmp_path: Path) -> None:
    tokenizer = byte_level()
    words = opened(tmp_path, tokenizer)
    first, second, third = tokenizer.encode("海").ids
    *_, other = tokenizer.encode("浸").ids
    assert words.words([first, second], third) == "海"
    assert words.words([first, second], other) not in ("海", "")
    assert words.words([], first) == f"#{first}, part of a character"


def test_bytes_of_a_sentencepiece_vocabulary_come_together_too(tmp_path: Path) -> None:
    tokenizer = byte_fallback()
    words = opened(tmp_path, tokenizer)
    byte = {n: tokenizer.token_to_id(f"<0x{n:02X}>") for n in range(256)}
    ids = [tokenizer.token_to_id("▁The"), tokenizer.token_to_id("▁sea"),
           tokenizer.token_to_id("海"), *(byte[n] for n in "青".encode())]  # fmt: skip
    assert list(words.together(ids)) == [(" The", 1), (" sea", 1), ("海", 1), ("青", 3)]


def test_a_text_that_ends_within_a_character_ends_all_the_same(tmp_path: Path) -> None:
    tokenizer = byte_level()
    words = opened(tmp_path, tokenizer)
    ids = tokenizer.encode("a海").ids[:-1]
    assert [count for _, count in words.together(ids)] == [1, 2]
    stray = [tokenizer.encode("海").ids[0]] * 20
    assert sum(count for _, count in words.together(stray)) == 20


def test_control_tokens_and_ids_beyond_the_vocabulary_have_names(tmp_path: Path) -> None:
    words = opened(tmp_path, byte_level())
    assert words.words([], 0) == "<|end|>"
    assert words.words([], 99_999) == "#99999"


def test_another_tokenizer_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    opened(tmp_path, byte_level())
    with pytest.raises(TokenizerRefused, match="not the one of these rows"):
        Words.open(ModelSettings(model=str(tmp_path)), "0" * 32)
    for model in (str(tmp_path / "none"), "nobody/has-this", "no/such/model"):
        with pytest.raises(ModelRefused, match="not on this machine"):
            Words.open(ModelSettings(model=model), "0" * 32)


def test_numbers_stand_for_words_where_there_is_no_tokenizer() -> None:
    assert list(Numbers().together([5, 6])) == [("#5 ", 1), ("#6 ", 1)]
    assert Numbers().words([5], 6) == "#6"
