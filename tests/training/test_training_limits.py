"""What training can reach: a student that says all it was shown, and one that is its teacher.

Both begin with random weights and run through the real launch on a processor. The first overfits
64 samples by SFT. The second learns a teacher that is worth imitating: one that was trained on
prompts with eight right answers each, and so has choices to make. Its distance from the teacher is
measured densely over the whole vocabulary, in float64, from what was saved, not from the loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CorpusMaker
from trainer import exported_corpus, recipe_document, tiny_model, train_many, write_recipe
from transformers import AutoModelForCausalLM, AutoTokenizer

from storage.database import Database
from storage.export import ExportOptions, export_samples
from training.capture.capture import capture
from training.data.example import Example
from training.engine.stages import tokenised_corpus, train
from training.recipe import TrainRecipe, load_train_recipe
from training.report.reading import read_metrics

SAMPLES = 64
VOCABULARY = 938
NATS_LEFT = 0.02
KL_LEFT = 0.01
SHAPE = {"hidden_size": 128, "intermediate_size": 256}


def stage(kind: str, **settings: Any) -> dict[str, Any]:
    """A stage that learns by heart: a high rate and a short memory of squared gradients."""
    return {"name": kind, "kind": kind, "learning_rate": 4e-3, "betas": [0.9, 0.95],
            "warmup": 0.05, **settings}  # fmt: skip


def recipe_of(folder: Path, manifest: Path, model: Path, **sections: Any) -> TrainRecipe:
    """A recipe in a folder of its own that trains on every sample."""
    folder.mkdir()
    document = recipe_document(
        manifest,
        model,
        corpus={"manifest": str(manifest), "validation": 0.0},
        engine={"ranks": 1, "zero": 0, "tokens_per_micro_batch": 4096},
        **sections,
    )
    return load_train_recipe(write_recipe(folder, document))


@pytest.fixture(scope="module", autouse=True)
def one_thread_each() -> Iterator[None]:
    """Two threads on a busy machine wait for each other more than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Overfitted:
    """A student that was shown 64 samples until it knew them."""

    last_nll: float
    model: Path
    examples: list[Example]


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Overfitted:
    folder = tmp_path_factory.mktemp("sft")
    manifest = exported_corpus(folder / "data", SAMPLES)
    student = tiny_model(folder / "student", **SHAPE)
    stages = [stage("sft", epochs=50, samples_per_step=16)]
    recipe = recipe_of(folder / "recipe", manifest, student, stages=stages)
    _, tokens = tokenised_corpus(recipe)
    (report,) = train(recipe, recipe.stages)
    records = read_metrics(report.folder / "metrics.jsonl")
    epoch = [record["ce"] for record in records if record["kind"] == "step"][-4:]
    return Overfitted(max(epoch), report.model, list(tokens.examples()))


@pytest.mark.slow
def test_a_tiny_student_learns_64_samples_by_heart(overfitted: Overfitted) -> None:
    model = AutoModelForCausalLM.from_pretrained(overfitted.model).double()
    nll_N = torch.cat(
        [
            -log_p_of(model, each).gather(1, torch.from_numpy(each.label_N).long()[:, None])
            for each in overfitted.examples
        ]
    )
    assert len(overfitted.examples) == SAMPLES
    assert float(nll_N.mean()) <= NATS_LEFT
    assert overfitted.last_nll <= NATS_LEFT


@pytest.mark.slow
def test_it_says_all_64_responses_by_itself_and_stops(overfitted: Overfitted) -> None:
    model = AutoModelForCausalLM.from_pretrained(overfitted.model)
    tokenizer = AutoTokenizer.from_pretrained(overfitted.model)
    said, taught = [], []
    for each in overfitted.examples:
        begin = int(each.trained_T.argmax())
        prompt = torch.from_numpy(each.token_id_T[:begin].astype(np.int64))[None]
        answer = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=100
        )
        said.append(tokenizer.decode(answer[0, begin:]))
        taught.append(tokenizer.decode(each.token_id_T[begin:]))
    assert len(set(taught)) > SAMPLES // 2
    assert said == taught


def ambiguous_corpus(folder: Path) -> Path:
    """Eight prompts with eight answers each: three choices of two, each as good as the other."""
    folder.mkdir()
    database = Database.open(str(folder / "corpus.db"), create=True)
    maker = CorpusMaker(database)
    for number in range(8):
        instruction = f"Say number {number} in another way."
        seed = maker.seed(instruction)
        choices = (("It is", "This is"), (number + 11, number + 40), ("yes", "no"))
        for variant, (begin, value, end) in enumerate(itertools.product(*choices)):
            response = f"{begin} {value}, {end}."
            maker.sample(seed, variant, instruction=instruction, response=response)
    result = export_samples(database, ExportOptions(str(folder / "corpus.jsonl")))
    database.close()
    return result.manifest_path


@torch.no_grad()
def log_p_of(model: Any, example: Example) -> torch.Tensor:
    """What a model says at the predicting positions: log-probabilities [N, V], one document."""
    ids_1T = torch.from_numpy(example.token_id_T.astype(np.int64))[None]
    return model(input_ids=ids_1T).logits[0, example.row_N].log_softmax(dim=1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Distance:
    """How far a student is from its teacher: means over all response tokens, in nats or shares.

    `kl` is the sum of `bins`, over the teacher's ten highest ids and one bucket for the rest, and
    of `inside`, the tail's mass times the divergence within it, which no bucket can tell of.
    """

    kl: float
    bins: float
    inside: float
    entropy: float
    kept: float
    students: float


def distance(teacher: Any, student: Any, examples: list[Example]) -> Distance:
    p_NV = torch.cat([log_p_of(teacher, each) for each in examples])
    q_NV = torch.cat([log_p_of(student, each) for each in examples])
    kl_N = (p_NV.exp() * (p_NV - q_NV)).sum(dim=1)
    id_NK = p_NV.topk(10, dim=1).indices
    p_NK, q_NK = p_NV.gather(1, id_NK), q_NV.gather(1, id_NK)
    p_tail_N = p_NV.scatter(1, id_NK, -torch.inf).logsumexp(dim=1)
    q_tail_N = q_NV.scatter(1, id_NK, -torch.inf).logsumexp(dim=1)
    bins_N = (p_NK.exp() * (p_NK - q_NK)).sum(dim=1) + p_tail_N.exp() * (p_tail_N - q_tail_N)
    return Distance(
        kl=float(kl_N.mean()),
        bins=float(bins_N.mean()),
        inside=float((kl_N - bins_N).mean()),
        entropy=float(-(p_NV.exp() * p_NV).sum(dim=1).mean()),
        kept=float(p_NK.exp().sum(dim=1).mean()),
        students=float(q_NK.exp().sum(dim=1).mean()),
    )


WAYS: dict[str, tuple[str, int]] = {
    "tail_bucket": ("tail_bucket", 10),
    "all ids": ("tail_bucket", VOCABULARY),
    "renorm": ("renorm", 10),
}


@pytest.fixture(scope="module")
def distances(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Distance]:
    """A teacher is trained and captured, and three students learn from it alone (alpha 1)."""
    folder = tmp_path_factory.mktemp("kd")
    manifest = ambiguous_corpus(folder / "data")
    base, fresh = (tiny_model(folder / f"seed-{seed}", seed, **SHAPE) for seed in (0, 1))
    stages = [stage("sft", epochs=50, samples_per_step=16)]
    taught = recipe_of(folder / "teacher", manifest, base, stages=stages)
    (report,) = train(taught, taught.stages)
    recipes = []
    for name, (objective, k) in WAYS.items():
        # Clipped low: one large gradient late in so short a course would decide where it ends.
        goal = {"objective": objective, "alpha": 1.0, "clip": 0.1, "teachers": [{"teacher": "big"}]}
        recipe = recipe_of(
            folder / name.replace(" ", "-"),
            manifest,
            fresh,
            teachers={"big": {"model": str(report.model), "dtype": "float32"}},
            capture={"k": k, "store": str(folder / "rows")},
            stages=[stage("kd", epochs=50, samples_per_step=16, **goal)],
        )
        _, tokens = tokenised_corpus(recipe)
        capture(recipe, tokens, "big")
        recipes.append(recipe)
    train_many(recipes, 1, folder)
    examples = list(tokens.examples())
    teacher = AutoModelForCausalLM.from_pretrained(report.model).double()
    found = {}
    for name, recipe in zip(WAYS, recipes, strict=True):
        model = Path(recipe.output) / recipe.name / "kd" / "model"
        student = AutoModelForCausalLM.from_pretrained(model).double()
        found[name] = distance(teacher, student, examples)
    return found


@pytest.mark.slow
def test_the_teacher_is_worth_imitating(distances: dict[str, Distance]) -> None:
    """Three even choices in some twelve tokens are 0.18 nats each, and ten ids hold nearly all."""
    teacher = distances["tail_bucket"]
    assert teacher.entropy >= 0.15
    assert teacher.kept >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tail_bucket", "all ids"])
def test_a_student_reaches_its_teachers_distribution(
    distances: dict[str, Distance], way: str
) -> None:
    assert distances[way].kl <= KL_LEFT, distances[way]


@pytest.mark.slow
def test_renorm_leaves_the_students_mass_to_drift_and_the_bucket_does_not(
    distances: dict[str, Distance],
) -> None:
    drift = {name: abs(each.students - each.kept) for name, each in distances.items()}
    assert drift["tail_bucket"] < 0.01 < drift["renorm"], drift
