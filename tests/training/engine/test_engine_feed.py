"""The right row for every token: a real store whose rows say which sample and position they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

from training.capture.sources import rows_source
from training.data.example import Example
from training.data.tokenised import TokenisedCorpus
from training.engine.feed import Feed, MicroBatch
from training.engine.schedules import held_out_schedule, training_schedule
from training.engine.stages import tokenised_corpus
from training.engine.teaching import Teaching, teachers_of, weights_of
from training.errors import RowsRefused
from training.recipe import TrainRecipe, load_train_recipe
from training.store.key import RowsSource
from training.store.rows import TeacherRows
from training.store.store import RowStore
from training.store.writer import ShardWriter

RANKS, EPOCHS, WIDTH = 2, 3, 938
MATHS, REWRITE, ALL = "maths", "rewriter", "everyone"
RULES = [
    {"teacher": MATHS, "weight": 3.0, "where": {"category": ["math"]}},
    {"teacher": REWRITE, "where": {"category": ["rewrite"], "language": ["en"]}},
    {"teacher": ALL, "weight": 1.0},
]
SHARE = {MATHS: {"math": 0.75, "rewrite": 0.0}, REWRITE: {"math": 0.0, "rewrite": 0.5},
         ALL: {"math": 0.25, "rewrite": 0.5}}  # fmt: skip


def _ids(example_number: int, row: int, teacher: int) -> tuple[int, int, int]:
    """Three ids that no other sample, row or teacher has: who it is, which row, whose."""
    return 100 + example_number, 300 + row, 900 + teacher


def _rows(example: Example, number: int, teacher: int) -> TeacherRows:
    count = len(example.row_N)
    ids = [_ids(number, row, teacher) for row in range(count)]
    return TeacherRows(
        id_NK=np.array(ids, np.int32),
        log_p_NK=np.log(np.tile(np.array([[0.5, 0.25, 0.125]], np.float32), (count, 1))),
        log_tail_N=np.full(count, math.log(0.125), np.float32),
    )


class _World:
    """A corpus, a recipe with three teachers, and a store that holds every row they should have."""

    def __init__(self, folder: Path) -> None:
        manifest = exported_corpus(folder / "data", 60)
        models = {
            name: tiny_model(folder / name, seed) for seed, name in enumerate([MATHS, REWRITE, ALL])
        }
        document = recipe_document(
            manifest,
            models[ALL],
            capture={"store": str(folder / "rows"), "k": 3},
            output=str(folder / "trained"),
            teachers={name: {"model": str(path)} for name, path in models.items()},
            engine={"ranks": RANKS, "zero": 2, "samples_per_micro_batch": 1},
        )
        document["data"]["packing"] = False
        document["stages"] = [
            {"name": "kd", "kind": "kd", "epochs": EPOCHS, "samples_per_step": 16,
             "seed": 7, "teachers": RULES}
        ]  # fmt: skip
        self.recipe: TrainRecipe = load_train_recipe(write_recipe(folder, document))
        self.stage = self.recipe.stages[0]
        self.corpus: TokenisedCorpus = tokenised_corpus(self.recipe)[1]
        self.names = teachers_of(self.stage)
        self.sources = [rows_source(self.recipe, name, self.corpus) for name in self.names]
        for teacher, source in enumerate(self.sources):
            self._fill(teacher, source)

    def _fill(self, teacher: int, source: RowsSource) -> None:
        """Backwards and in several shards, so that order can be of no help."""
        with ShardWriter(self.recipe.capture.store, source, WIDTH, rows_per_shard=150) as writer:
            for number in reversed(range(len(self.corpus))):
                if self.share(teacher, number):
                    example = self.corpus.example(number)
                    writer.append(example, _rows(example, number, teacher))

    def share(self, teacher: int, number: int) -> float:
        category = self.corpus.columns(number)["category"]
        return SHARE[self.names[teacher]][str(category)]

    def teaching(self) -> Teaching:
        return Teaching(
            store=RowStore.open(self.recipe.capture.store),
            sources=tuple(self.sources),
            weight_TE=weights_of(self.stage, self.corpus.columns, len(self.corpus)),
            temperature=1.0,
            width=WIDTH,
        )

    def feed(self, rank: int, teaching: Teaching | None = None) -> Feed:
        return Feed(
            self.corpus,
            training_schedule(self.corpus, self.recipe, self.stage, RANKS),
            held_out=held_out_schedule(self.corpus, self.recipe, RANKS),
            teaching=teaching or self.teaching(),
            rank=rank,
            device=torch.device("cpu"),
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> _World:
    return _World(tmp_path_factory.mktemp("world"))


def _check(world: _World, micro: MicroBatch) -> int:
    """Every row of every teacher at every token of a micro-batch; returns how many tokens."""
    examples = [world.corpus.example(number) for number in micro.examples]
    expected = [(number, row) for number, example in zip(micro.examples, examples, strict=True)
                for row in range(len(example.row_N))]  # fmt: skip
    labels = [int(label) for example in examples for label in example.label_N]
    assert micro.batch.label_N.tolist() == labels
    said = micro.batch.token_id_T[micro.batch.row_N + 1].tolist()
    assert said == labels
    assert len(micro.targets) == len(world.names)
    for teacher, targets in enumerate(micro.targets):
        weights = [world.share(teacher, number) for number, _ in expected]
        assert targets.weight_N.tolist() == pytest.approx(weights)
        ids = [list(_ids(number, row, teacher)) if weight else [0, -1, -1]
               for (number, row), weight in zip(expected, weights, strict=True)]  # fmt: skip
        assert targets.id_NK.tolist() == ids
    return len(expected)


def _course(world: _World, feeds: list[Feed]) -> tuple[list[int], int, list[int]]:
    """Examples seen, tokens checked, micro-batches of each rank and step."""
    seen: list[int] = []
    tokens, counts = 0, []
    for step in range(feeds[0].schedule.steps):
        before = tokens
        for feed in feeds:
            flags = []
            for micro, is_last in feed.step(step):
                tokens += _check(world, micro)
                seen += micro.examples
                flags.append(is_last)
            assert flags == [False] * (len(flags) - 1) + [True]
            counts.append(len(flags))
        assert tokens - before == feeds[0].trained_tokens(step)
    return seen, tokens, counts


def test_every_token_gets_its_own_row_for_three_epochs_on_two_ranks(world: _World) -> None:
    feeds = [world.feed(rank) for rank in range(RANKS)]
    seen, tokens, counts = _course(world, feeds)
    train = world.corpus.train
    assert len(train) > 32
    assert sorted(seen) == sorted(train.tolist() * EPOCHS)
    assert tokens == EPOCHS * int(world.corpus.trained_counts[train].sum())
    # Sixteen samples one by one on two ranks are eight accumulated micro-batches on each.
    assert counts.count(8) >= 2 * EPOCHS * (len(train) // 16)
    first = seen[: len(train)]
    assert first != sorted(first) and first != seen[len(train) : 2 * len(train)]


def test_packed_micro_batches_keep_the_same_rows(world: _World) -> None:
    recipe = world.recipe.model_copy(
        update={
            "data": world.recipe.data.model_copy(update={"packing": True}),
            "engine": world.recipe.engine.model_copy(update={"tokens_per_micro_batch": 200}),
        }
    )
    packed = [
        Feed(
            world.corpus,
            training_schedule(world.corpus, recipe, world.stage, RANKS),
            held_out=None, teaching=world.teaching(), rank=rank, device=torch.device("cpu"),
        )
        for rank in range(RANKS)
    ]  # fmt: skip
    seen, tokens, counts = _course(world, packed)
    assert sorted(seen) == sorted(world.corpus.train.tolist() * EPOCHS)
    assert tokens == EPOCHS * int(world.corpus.trained_counts[world.corpus.train].sum())
    assert max(counts) < 8


def test_held_out_samples_get_their_own_rows_too(world: _World) -> None:
    seen: list[int] = []
    for rank in range(RANKS):
        for micro in world.feed(rank).validation():
            _check(world, micro)
            seen += micro.examples
    assert sorted(seen) == world.corpus.validation.tolist()
    assert len(seen) > 3


def test_a_course_taken_up_in_the_middle_is_the_same_from_there_on(world: _World) -> None:
    whole, late = world.feed(0), world.feed(0)
    everything = [micro.examples for step in range(6) for micro, _ in whole.step(step)]
    before = sum(1 for step in range(4) for _ in world.feed(0).step(step))
    assert [micro.examples for step in (4, 5) for micro, _ in late.step(step)] == (
        everything[before:]
    )


def test_weights_are_shares_of_the_teachers_that_a_sample_is_meant_for(world: _World) -> None:
    weight_TE = world.teaching().weight_TE
    np.testing.assert_allclose(weight_TE.sum(axis=0), 1.0, rtol=1e-6)
    for teacher in range(len(world.names)):
        for number in range(len(world.corpus)):
            assert weight_TE[teacher, number] == pytest.approx(world.share(teacher, number))


def test_a_sample_that_no_teacher_is_meant_for_is_refused(world: _World) -> None:
    stage = world.stage.model_copy(update={"teachers": world.stage.teachers[:1]})
    with pytest.raises(RowsRefused, match="have no teacher in stage 'kd'") as caught:
        weights_of(stage, world.corpus.columns, len(world.corpus))
    assert "rewrite" in caught.value.cause


def test_what_the_ranks_read_is_what_was_written(world: _World, tmp_path: Path) -> None:
    teaching = world.teaching()
    again = Teaching.open(teaching.write(tmp_path))
    assert again.sources == teaching.sources
    assert (again.temperature, again.width) == (1.0, WIDTH)
    np.testing.assert_array_equal(again.weight_TE, teaching.weight_TE)
    for micro, _ in world.feed(1, again).step(0):
        _check(world, micro)


def _flip(world: _World, number: int, copy: Path) -> RowStore:
    """A copy of the store in which one bit of one sample's rows has changed."""
    copy.mkdir()
    store = RowStore.open(world.recipe.capture.store)
    everyone = world.names.index(ALL)
    key = bytes.fromhex(world.sources[everyone].key(world.corpus.example(number)))
    for shard in store.shards:
        raw = bytearray(shard.path.read_bytes())
        keys = shard.keys()
        if key.hex() in keys:
            at = keys.index(key.hex())
            raw[8 + int(shard.start_M[at]) * shard.codec.row_bytes + 3] ^= 4
        (copy / shard.path.name).write_bytes(raw)
    return RowStore.open(copy)


def test_a_flipped_bit_stops_the_feed_at_its_sample(world: _World, tmp_path: Path) -> None:
    teaching: Any = world.teaching()
    number = int(world.feed(0).schedule.micro_batches(2, 0)[0][0])
    broken = Teaching(
        store=_flip(world, number, tmp_path / "copy"),
        sources=teaching.sources,
        weight_TE=teaching.weight_TE,
        temperature=1.0,
        width=WIDTH,
    )
    feed = world.feed(0, broken)
    for step in (0, 1):
        assert all(_check(world, micro) for micro, _ in feed.step(step))
    with pytest.raises(RowsRefused, match="are corrupt") as caught:
        list(feed.step(2))
    assert world.corpus.example(number).sample_id in caught.value.what


def test_the_loss_has_one_divisor_whatever_the_ranks(world: _World) -> None:
    feeds = [world.feed(rank) for rank in range(RANKS)]
    for step in range(feeds[0].schedule.steps):
        total = sum(micro.rows for feed in feeds for micro, _ in feed.step(step))
        assert {feed.trained_tokens(step) for feed in feeds} == {total}
