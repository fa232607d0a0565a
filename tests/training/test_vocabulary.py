"""Fingerprints are of what ids mean; another vocabulary is mapped by token string, or refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from training.data.example import Example
from training.errors import TokenizerRefused
from training.store.rows import TeacherRows
from training.vocabulary import (
    VocabularyMap,
    drop_ids,
    read_vocabulary,
    tokenizer_fingerprint,
)

TEXT = ["the farmer gives apples to her neighbours", "the sea and the light", "a b c d e f g"]


def saved(folder: Path, text: Sequence[str] = TEXT, size: int = 80) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<end>", "<turn>"], show_progress=False
    )
    tokenizer.train_from_iterator(text, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    return folder


def changed(folder: Path, copy: Path, file: str, change: Any) -> Path:
    shutil.copytree(folder, copy)
    document = json.loads((copy / file).read_text())
    change(document)
    (copy / file).write_text(json.dumps(document))
    return copy


def test_a_folder_and_the_tokenizer_loaded_from_it_have_one_fingerprint(tmp_path: Path) -> None:
    folder = saved(tmp_path / "t")
    assert tokenizer_fingerprint(folder) == tokenizer_fingerprint(
        AutoTokenizer.from_pretrained(folder)
    )


def test_a_qwen2_tokenizer_that_loading_rebuilds_keeps_its_fingerprint(tmp_path: Path) -> None:
    folder = saved(tmp_path / "t")
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    loaded = AutoTokenizer.from_pretrained(folder)
    assert type(loaded).__name__ == "Qwen2Tokenizer"
    # Loading adds what a Qwen2 tokenizer must have; saved again it says so.
    loaded.save_pretrained(tmp_path / "again")
    assert tokenizer_fingerprint(loaded) == tokenizer_fingerprint(tmp_path / "again")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(padding={"strategy": {"Fixed": 9}, "direction": "Right"}),
        lambda d: d.update(truncation={"max_length": 5}),
        lambda d: d["added_tokens"][0].update(special=False),
        lambda d: d["model"].update(merges=[" ".join(pair) for pair in d["model"]["merges"]]),
    ],
    ids=["padding", "truncation", "specialness", "the old form of merges"],
)
def test_what_changes_no_id_changes_no_fingerprint(tmp_path: Path, change: Any) -> None:
    folder = saved(tmp_path / "t")
    other = changed(folder, tmp_path / "other", "tokenizer.json", change)
    assert tokenizer_fingerprint(folder) == tokenizer_fingerprint(other)


def swap_ids(document: dict[str, Any]) -> None:
    vocab = document["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]


@pytest.mark.parametrize(
    "change",
    [
        swap_ids,
        lambda d: d["model"]["merges"].pop(),
        lambda d: d["added_tokens"].append({"id": 500, "content": "<new>"}),
    ],
    ids=["ids", "merges", "added tokens"],
)
def test_what_changes_ids_changes_the_fingerprint(tmp_path: Path, change: Any) -> None:
    folder = saved(tmp_path / "t")
    other = changed(folder, tmp_path / "other", "tokenizer.json", change)
    assert tokenizer_fingerprint(folder) != tokenizer_fingerprint(other)


def test_tokens_that_only_the_configuration_adds_count(tmp_path: Path) -> None:
    folder = saved(tmp_path / "t")
    added = {"500": {"content": "<new>"}}
    other = changed(
        folder,
        tmp_path / "other",
        "tokenizer_config.json",
        lambda d: d.update(added_tokens_decoder=added),
    )
    assert read_vocabulary(other).size == 501
    assert tokenizer_fingerprint(folder) != tokenizer_fingerprint(other)


@pytest.mark.parametrize("content", [None, "{", '{"model": {}}'])
def test_a_folder_without_a_readable_tokenizer_is_refused(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerRefused):
        tokenizer_fingerprint(tmp_path)


def test_a_folders_fingerprint_needs_no_torch(tmp_path: Path) -> None:
    folder = saved(tmp_path / "t")
    script = (
        "import sys; from training.vocabulary import tokenizer_fingerprint as f;"
        f"print(f({str(folder)!r})); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == tokenizer_fingerprint(folder), done.stderr


def maps(tmp_path: Path) -> tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast, VocabularyMap]:
    """A teacher that lacks the student's `g` and has words of its own."""
    student = saved(tmp_path / "student")
    teacher = saved(tmp_path / "teacher", ["the sea and the wind", "a b c d e f", *TEXT[:2]], 90)
    both = [AutoTokenizer.from_pretrained(folder) for folder in (student, teacher)]
    return (*both, VocabularyMap.between(read_vocabulary(student), read_vocabulary(teacher)))


def example(ids: Sequence[int], first_trained: int = 1) -> Example:
    trained = np.arange(len(ids)) >= first_trained
    return Example("e", "s", "f", np.array(ids, np.int32), trained)


def test_one_tokenizer_is_mapped_to_itself(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(saved(tmp_path / "t"))
    same = VocabularyMap.between(vocabulary, vocabulary)
    asked = example([3, 4, 5])
    assert same.to_teacher(asked) is asked
    assert same.coverage([asked]).sequences == 1


def test_ids_of_another_tokenizer_stand_for_the_same_strings(tmp_path: Path) -> None:
    student, teacher, between = maps(tmp_path)
    ids = student.encode("the sea and the light")
    mapped = between.to_teacher(example(ids))
    assert mapped is not None
    strings = teacher.convert_ids_to_tokens(mapped.token_id_T.tolist())
    assert strings == student.convert_ids_to_tokens(ids)
    assert mapped.token_id_T.tolist() != ids


def without_counterpart(
    one: PreTrainedTokenizerFast, other: PreTrainedTokenizerFast
) -> tuple[int, list[int]]:
    """An id of `one` that `other` lacks, and three that both have."""
    alone = sorted(set(one.get_vocab()) - set(other.get_vocab()))
    shared = sorted(set(one.get_vocab()) & set(other.get_vocab()))
    ids = one.get_vocab()
    return ids[alone[0]], [ids[token] for token in shared[:3]]


def test_a_sequence_with_a_token_that_the_teacher_lacks_cannot_be_asked(tmp_path: Path) -> None:
    student, teacher, between = maps(tmp_path)
    alone, shared = without_counterpart(student, teacher)
    assert between.to_teacher(example([*shared, alone])) is None


def test_coverage_counts_trained_tokens_and_whole_sequences(tmp_path: Path) -> None:
    student, teacher, between = maps(tmp_path)
    alone, (a, b, c) = without_counterpart(student, teacher)
    found = between.coverage(
        [example([alone, a, b, c]), example([a, b, c, alone]), example([a, b])]
    )
    assert found.tokens == 8 / 10
    assert found.trained == 6 / 7
    assert found.sequences == 1 / 3


def test_too_little_coverage_is_refused_with_its_figures(tmp_path: Path) -> None:
    student, teacher, between = maps(tmp_path)
    alone, (a, b, _) = without_counterpart(student, teacher)
    corpus = [example([a, b, alone]), example([a, b, b])]
    assert between.require(corpus, 0.5, "big").sequences == 0.5
    with pytest.raises(TokenizerRefused, match="'big' has another tokenizer") as caught:
        between.require(corpus, 0.99, "big")
    assert "75.00% of trained tokens" in caught.value.cause


def test_a_teachers_ids_without_counterpart_join_the_tail(tmp_path: Path) -> None:
    student, teacher, between = maps(tmp_path)
    alone, (a, b, _) = without_counterpart(teacher, student)
    p = np.array([[0.4, 0.3, 0.2]])
    rows = TeacherRows(
        np.array([[a, alone, b]], np.int32),
        np.log(p).astype(np.float32),
        np.log([0.1]).astype(np.float32),
        {2.0: np.array([0.7], np.float32)},
    )
    mapped = between.to_student(rows)
    strings = teacher.convert_ids_to_tokens([a, b])
    assert student.convert_ids_to_tokens(mapped.id_NK[0, :2].tolist()) == strings
    assert mapped.id_NK[0, 2] == -1 and np.isneginf(mapped.log_p_NK[0, 2])
    np.testing.assert_allclose(np.exp(mapped.log_p_NK[0, :2]), [0.4, 0.2], rtol=1e-6)
    np.testing.assert_allclose(np.exp(mapped.log_tail_N), [0.4], rtol=1e-6)
    assert mapped.log_z[2.0] == rows.log_z[2.0]


def test_dropping_nothing_leaves_a_tail_of_nothing(tmp_path: Path) -> None:
    rows = TeacherRows(
        np.array([[1, 2]], np.int32),
        np.log([[0.5, 0.5]]).astype(np.float32),
        np.array([-np.inf], np.float32),
    )
    kept = drop_ids(rows, np.zeros((1, 2), bool))
    assert np.isneginf(kept.log_tail_N[0]) and kept.id_NK.tolist() == [[1, 2]]
