"""Tokenised corpora: what goes in comes out, once made they are found, and never half made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CorpusMaker
from transformers import PreTrainedTokenizerFast

from storage.database import Database
from storage.export import ExportOptions, export_samples
from training.data.chat import ChatRenderer
from training.data.corpus import Corpus, read_corpus
from training.data.prepare import prepare
from training.data.split import Split
from training.data.tokenised import TokenisedCorpus
from training.errors import CorpusRefused, SampleTooLong
from training.recipe import CorpusSettings

Tokenizers = dict[str, PreTrainedTokenizerFast]
SPLIT = Split(0.25)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """40 samples of 20 families, one of them long, in three languages, with their database."""
    folder = tmp_path_factory.mktemp("corpus")
    database = Database.open(str(folder / "corpus.db"), create=True)
    maker = CorpusMaker(database)
    for n in range(20):
        seed = maker.seed(f"Seed {n}.")
        maker.sample(seed, 0, response=f"答えは{n}です。" * (40 if n == 7 else 1), language="ja")
        maker.sample(seed, 1, response=f"It is {n}.", language="en", category=None)
    yield export_samples(database, ExportOptions(str(folder / "out.jsonl"))).manifest_path
    database.close()


@pytest.fixture
def corpus(manifest: Path) -> Corpus:
    db = str(manifest.with_name("corpus.db"))
    return read_corpus(CorpusSettings(manifest=str(manifest), db=db))


@pytest.fixture
def renderer(tokenizers: Tokenizers) -> ChatRenderer:
    return ChatRenderer(tokenizers["qwen2.5"], context=200)


def test_examples_come_back_as_they_were_rendered(
    corpus: Corpus, renderer: ChatRenderer, tmp_path: Path
) -> None:
    made = prepare(corpus, renderer, SPLIT, tmp_path)
    wanted = renderer.render(list(corpus.records())).examples
    assert len(made) == len(wanted) == 39
    for found, example in zip(made.examples(), wanted, strict=True):
        assert (found.id, found.sample_id, found.family_id) == (
            example.id, example.sample_id, example.family_id,
        )  # fmt: skip
        assert (found.category, found.language) == (example.category, example.language)
        assert np.array_equal(found.token_id_T, example.token_id_T)
        assert np.array_equal(found.trained_T, example.trained_T)
        assert (found.token_id_T.dtype, found.trained_T.dtype) == (np.int32, np.bool_)
    assert made.lengths.tolist() == [len(example) for example in wanted]
    assert list(made.ids) == [example.id for example in wanted]


def test_no_family_straddles_the_split(
    corpus: Corpus, renderer: ChatRenderer, tmp_path: Path
) -> None:
    made = prepare(corpus, renderer, SPLIT, tmp_path)
    families = [{made.family_ids[n] for n in part} for part in (made.train, made.validation)]
    assert families[0] and families[1] and not families[0] & families[1]
    assert sorted([*made.train, *made.validation]) == list(range(39))
    assert made.meta["parts"]["validation"]["examples"] == len(made.validation)


def test_columns_are_what_the_corpus_says(
    corpus: Corpus, renderer: ChatRenderer, tmp_path: Path
) -> None:
    made = prepare(corpus, renderer, SPLIT, tmp_path)
    assert made.columns(0) == {
        "category": "math", "language": "ja", "recipe": "tests", "difficulty": 5,
    }  # fmt: skip
    assert (made.columns(1)["category"], made.columns(1)["language"]) == (None, "en")


def test_without_a_database_difficulty_is_unknown(
    manifest: Path, renderer: ChatRenderer, tmp_path: Path
) -> None:
    plain = read_corpus(CorpusSettings(manifest=str(manifest)))
    assert prepare(plain, renderer, SPLIT, tmp_path).columns(0)["difficulty"] is None


def test_what_was_lost_is_counted_and_named(
    corpus: Corpus, renderer: ChatRenderer, tmp_path: Path
) -> None:
    made = prepare(corpus, renderer, SPLIT, tmp_path)
    long = [record.id for record in corpus.records()][14]
    assert made.lost == {"too_long": 1}
    assert made.meta["lost"]["too_long"]["first"] == [long]
    assert made.meta["records"] == 40


def test_what_was_truncated_is_counted_and_named(
    corpus: Corpus, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    renderer = ChatRenderer(tokenizers["qwen2.5"], 200, "truncate")
    made = prepare(corpus, renderer, SPLIT, tmp_path)
    assert (made.truncated, made.lost, len(made)) == (1, {}, 40)
    assert made.lengths[14] == 200


def test_the_same_inputs_find_what_was_made(
    corpus: Corpus, renderer: ChatRenderer, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    first, again = (
        prepare(corpus, renderer, SPLIT, tmp_path, progress=lambda *said: seen.append(said))
        for _ in range(2)
    )
    assert seen == [(40, 40)]
    assert again.folder == first.folder


def test_scores_are_asked_of_the_corpus_and_shape_nothing_that_is_kept(
    corpus: Corpus, manifest: Path, renderer: ChatRenderer, tmp_path: Path
) -> None:
    plain = prepare(read_corpus(CorpusSettings(manifest=str(manifest))), renderer, SPLIT, tmp_path)
    assert corpus.difficulty is not None
    scored = replace(corpus, difficulty=np.arange(40, dtype=np.int8) % 11 - 1)
    made = prepare(scored, renderer, SPLIT, tmp_path)
    assert made.folder == plain.folder
    assert {plain.columns(n)["difficulty"] for n in range(39)} == {None}
    # Row 14 is too long and has no example, so that rows and examples part there.
    rows = [n for n in range(40) if n != 14]
    wanted = [n % 11 - 1 if n % 11 else None for n in rows]
    assert [made.columns(n)["difficulty"] for n in range(39)] == wanted


@pytest.mark.parametrize("changed", ["context", "too_long", "template", "tokens", "split"])
def test_other_inputs_make_another(
    corpus: Corpus,
    tokenizers: Tokenizers,
    tokenizer_with: Any,
    tmp_path: Path,
    changed: str,
) -> None:
    settings: dict[str, Any] = {"context": 200, "too_long": "drop"}
    split, tokenizer = SPLIT, tokenizers["qwen2.5"]
    first = prepare(corpus, ChatRenderer(tokenizer, **settings), split, tmp_path)
    if changed == "context":
        settings["context"] = 201
    elif changed == "too_long":
        settings["too_long"] = "truncate"
    elif changed == "template":
        tokenizer = tokenizers["chatml"]
    elif changed == "split":
        split = Split(0.26)
    else:
        tokenizer = tokenizer_with(tokenizer.chat_template)
        tokenizer.add_tokens(["答えは"])
    other = prepare(corpus, ChatRenderer(tokenizer, **settings), split, tmp_path)
    assert other.folder != first.folder


def test_two_that_prepare_at_once_make_it_once(
    corpus: Corpus, renderer: ChatRenderer, tmp_path: Path
) -> None:
    seen: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        made = [
            pool.submit(
                prepare, corpus, renderer, SPLIT, tmp_path, progress=lambda n, _: seen.append(n)
            )
            for _ in range(2)
        ]
    assert len({each.result().folder for each in made}) == 1
    assert seen == [40]


def test_a_killed_preparation_leaves_nothing_visible(
    corpus: Corpus, manifest: Path, renderer: ChatRenderer, tmp_path: Path
) -> None:
    tokenizer, out = tmp_path / "tokenizer", tmp_path / "out"
    renderer.tokenizer.save_pretrained(tokenizer)
    program = (
        "import os, sys\n"
        "from transformers import AutoTokenizer\n"
        "from training.data import chat, corpus, prepare, split\n"
        "from training.recipe import CorpusSettings\n"
        "prepare._refuse_nothing = lambda *arguments: os.kill(os.getpid(), 9)\n"
        "renderer = chat.ChatRenderer(AutoTokenizer.from_pretrained(sys.argv[2]), 200)\n"
        "read = corpus.read_corpus(CorpusSettings(manifest=sys.argv[1]))\n"
        "prepare.prepare(read, renderer, split.Split(0.25), sys.argv[3])\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, manifest, tokenizer, out])
    assert killed.returncode == -9
    assert [path.suffix for path in out.iterdir() if path.is_dir()] == [".tmp"]
    made = prepare(corpus, renderer, SPLIT, out)
    assert [path for path in out.iterdir() if path.is_dir()] == [made.folder]


def test_a_failed_preparation_leaves_nothing_behind(
    corpus: Corpus, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    with pytest.raises(SampleTooLong):
        prepare(corpus, ChatRenderer(tokenizers["qwen2.5"], 200, "refuse"), SPLIT, tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_corpus_of_which_nothing_is_left_is_refused_with_the_counts(
    corpus: Corpus, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    with pytest.raises(CorpusRefused, match="left to train on") as refused:
        prepare(corpus, ChatRenderer(tokenizers["qwen2.5"], 8), SPLIT, tmp_path)
    assert "Of its 40 samples: 40 prompt_too_long" in refused.value.cause


def test_a_folder_that_cannot_be_written_is_refused(
    corpus: Corpus, renderer: ChatRenderer, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorpusRefused, match="cannot be written"):
        prepare(corpus, renderer, SPLIT, tmp_path / "file" / "out")


def test_a_full_disk_is_refused_and_leaves_nothing_behind(manifest: Path, tmp_path: Path) -> None:
    maker = Path(__file__).parents[3] / "recipes" / "vllm-cpu" / "make_checkpoint.py"
    program = (
        "import resource, runpy, sys\n"
        "from training.data import chat, corpus, prepare, split\n"
        "from training.errors import CorpusRefused\n"
        "from training.recipe import CorpusSettings\n"
        "renderer = chat.ChatRenderer(runpy.run_path(sys.argv[2])['make_tokenizer'](), 200)\n"
        "read = corpus.read_corpus(CorpusSettings(manifest=sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    prepare.prepare(read, renderer, split.Split(0.25), sys.argv[3])\n"
        "except CorpusRefused as refused:\n"
        "    sys.exit(refused.cause)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, manifest, maker, tmp_path], capture_output=True, text=True
    )
    assert "File too large" in ended.stderr
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("damage", ["meta.json", "token_id", "id.ends"])
def test_a_damaged_folder_is_refused_by_name(
    corpus: Corpus, renderer: ChatRenderer, tmp_path: Path, damage: str
) -> None:
    folder = prepare(corpus, renderer, SPLIT, tmp_path).folder
    (folder / damage).write_bytes((folder / damage).read_bytes()[:-3])
    with pytest.raises(CorpusRefused, match="cannot be used") as refused:
        TokenisedCorpus.open(folder)
    assert damage in refused.value.cause


EVERY_FILE = (
    "token_id", "trained", "ends", "held_out", "row", "category", "language", "recipe",
    "id", "id.ends", "sample_id", "sample_id.ends", "family_id", "family_id.ends",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(
    manifest: Path, tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory
) -> TokenisedCorpus:
    """A tokenised corpus, for tests that put back what they spoil."""
    read = read_corpus(CorpusSettings(manifest=str(manifest)))
    renderer = ChatRenderer(tokenizers["qwen2.5"], context=200)
    return prepare(read, renderer, SPLIT, tmp_path_factory.mktemp("made"))


@contextmanager
def spoilt(file: Path, spoil: Callable[[bytes], bytes]) -> Iterator[None]:
    """The file with other bytes of the same length, while the block lasts."""
    sound = file.read_bytes()
    other = spoil(sound)
    assert other != sound and len(other) == len(sound)
    file.write_bytes(other)
    try:
        yield
    finally:
        file.write_bytes(sound)


def test_every_file_of_a_tokenised_corpus_has_a_hash(made: TokenisedCorpus) -> None:
    assert {path.name for path in made.folder.iterdir()} == {*EVERY_FILE, "meta.json"}
    assert {*made.meta["files"]} == {*EVERY_FILE}


@pytest.mark.parametrize("damage", EVERY_FILE)
def test_a_bit_that_flipped_in_a_file_is_refused_by_its_name(
    made: TokenisedCorpus, manifest: Path, renderer: ChatRenderer, damage: str
) -> None:
    read = read_corpus(CorpusSettings(manifest=str(manifest)))
    with (
        spoilt(made.folder / damage, lambda raw: bytes([raw[0] ^ 1]) + raw[1:]),
        pytest.raises(CorpusRefused, match="cannot be used") as refused,
    ):
        prepare(read, renderer, SPLIT, made.folder.parent)
    assert f"`{damage}` is not what was written: its hash differs" in refused.value.cause
    assert "Delete that folder" in refused.value.solution


def test_a_figure_that_changed_among_the_counts_is_refused(
    made: TokenisedCorpus, manifest: Path, renderer: ChatRenderer
) -> None:
    read = read_corpus(CorpusSettings(manifest=str(manifest)))
    with (
        spoilt(
            made.folder / "meta.json", lambda raw: raw.replace(b'"records": 40', b'"records": 41')
        ),
        pytest.raises(CorpusRefused, match="cannot be used") as refused,
    ):
        prepare(read, renderer, SPLIT, made.folder.parent)
    assert "meta.json" in refused.value.cause


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusRefused, match="cannot be used"):
        TokenisedCorpus.open(tmp_path / "nothing")
