"""Every objective, and several teachers at once, from captured rows through the real ranks.

Tiny random models; one launch trains two steps of each. What two teachers teach together is held
against the one distribution that they amount to, by a dense float64 reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from trainer import exported_corpus, recipe_document, tiny_model, train_many, write_recipe
from transformers import AutoModelForCausalLM

from training.capture.capture import capture
from training.data.tokenised import TokenisedCorpus
from training.engine.schedules import training_schedule
from training.engine.stages import stage_folder, tokenised_corpus
from training.engine.teaching import Teaching
from training.losses.fused import fused_linear_loss
from training.losses.objective import Objective
from training.losses.targets import SparseTargets
from training.recipe import TrainRecipe, load_train_recipe

VOCABULARY = 938
ALPHA = 0.9
WEIGHTS = {"big": 0.7, "other": 0.3}
ONE = [{"teacher": "big"}]

OBJECTIVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tail_bucket, T = 2": ({"objective": "tail_bucket", "temperature": 2.0}, {}),
    "label_tail": ({"objective": "label_tail"}, {}),
    "renorm, T = 2": ({"objective": "renorm", "temperature": 2.0}, {}),
    "reverse_tail": ({"objective": "reverse_tail"}, {}),
    "reverse_tail, T = 2": ({"objective": "reverse_tail", "temperature": 2.0}, {}),
    "jsd_tail": ({"objective": "jsd_tail", "beta": 0.3}, {}),
    "jsd_tail, T = 2": ({"objective": "jsd_tail", "temperature": 2.0}, {}),
    "sampled": ({"objective": "sampled"}, {"sampled": 32, "temperatures": [1.0]}),
}
ALL_IDS = {"k": VOCABULARY, "temperatures": [1.0]}
FUSED: dict[str, list[dict[str, Any]]] = {
    "two teachers on every row": [
        {"teacher": name, "weight": weight} for name, weight in WEIGHTS.items()
    ],
    "a teacher for each category": [
        {"teacher": "big", "where": {"category": ["math"]}},
        {"teacher": "other", "where": {"category": ["rewrite"]}},
    ],
    "a second opinion on one category": [
        {"teacher": "big", "weight": 0.7},
        {"teacher": "other", "weight": 0.3, "where": {"category": ["rewrite"]}},
    ],
}


@dataclass(frozen=True)
class Trained:
    """One stage of two steps: its recipe, tokens, and the steps' metrics."""

    recipe: TrainRecipe
    tokens: TokenisedCorpus
    steps: list[dict[str, Any]]

    @property
    def teaching(self) -> Teaching:
        return Teaching.open(stage_folder(self.recipe, self.recipe.stages[0]) / "teaching.json")


def sharp(folder: Path) -> Path:
    """Enlarges a random model's weights: as it begins, all tokens are alike to it."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(8)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    folder = tmp_path_factory.mktemp("objectives")
    manifest = exported_corpus(folder / "data", 20)
    student = sharp(tiny_model(folder / "student", 0))
    teachers = {
        name: {"model": str(sharp(tiny_model(folder / name, seed))), "dtype": "float32"}
        for seed, name in enumerate(WEIGHTS, 1)
    }
    wanted = {name: (ONE, *each) for name, each in OBJECTIVES.items()}
    wanted |= {name: (rules, {}, ALL_IDS) for name, rules in FUSED.items()}
    recipes, tokens = [], None
    for number, (rules, stage, kept) in enumerate(wanted.values()):
        document = recipe_document(
            manifest,
            student,
            corpus={"manifest": str(manifest), "validation": 0.0},
            teachers=teachers,
            capture={"store": str(folder / "rows"), "temperatures": [1.0, 2.0], **kept},
            stages=[
                {"name": "kd", "kind": "kd", "max_steps": 2, "samples_per_step": 10, "warmup": 0.0,
                 "learning_rate": 1e-3, "alpha": ALPHA, "teachers": rules, **stage},
            ],
            output=f"out-{number}",
        )  # fmt: skip
        recipe = load_train_recipe(write_recipe(folder, document))
        _, tokens = tokenised_corpus(recipe)
        for name in {rule["teacher"] for rule in rules}:
            capture(recipe, tokens, name)
        recipes.append(recipe)
    assert tokens is not None
    records = train_many(recipes, 1, folder)
    return {
        name: Trained(recipe, tokens, [each for each in said if each["kind"] == "step"])
        for name, recipe, said in zip(wanted, recipes, records, strict=True)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OBJECTIVES, *FUSED])
def test_two_steps_from_a_captured_store_end_with_finite_figures(
    trained: dict[str, Trained], name: str
) -> None:
    steps = trained[name].steps
    assert [step["step"] for step in steps] == [1, 2]
    for step in steps:
        figures = ("loss", "ce", "kd", "gradient_norm", "teacher_mass", "student_mass", "kd_share")
        assert np.isfinite([step[figure] for figure in figures]).all()
        assert step["loss"] == pytest.approx((1 - ALPHA) * step["ce"] + ALPHA * step["kd"])
        assert 0 < step["kd_share"] < 1


def first_step(run: Trained) -> list[int]:
    schedule = training_schedule(run.tokens, run.recipe, run.recipe.stages[0], ranks=1)
    return [int(number) for number in schedule.samples(0)]


def targets_of(run: Trained, numbers: Iterable[int]) -> tuple[tuple[SparseTargets, ...], Tensor]:
    """The targets of these examples as the ranks read them, and the labels [N]."""
    chosen = np.array(list(numbers))
    examples = [run.tokens.example(number) for number in chosen]
    label_N = torch.from_numpy(np.concatenate([each.label_N for each in examples])).long()
    return run.teaching.targets(chosen, examples), label_N


def mixture(targets: Iterable[SparseTargets]) -> Tensor:
    """What teachers with all ids amount to at each row: probabilities, float64 [N, V]."""
    parts = []
    for each in targets:
        p_NV = torch.zeros(len(each.id_NK), VOCABULARY, dtype=torch.float64)
        p_NV.scatter_add_(1, each.id_NK.clamp(min=0), each.log_p_NK.double().exp())
        parts.append(each.weight_N.double()[:, None] * p_NV / p_NV.sum(dim=1, keepdim=True))
    return torch.stack(parts).sum(dim=0)


def distribution(p_NV: Tensor) -> SparseTargets:
    """One teacher that says just that."""
    rows = len(p_NV)
    return SparseTargets(
        id_NK=torch.arange(VOCABULARY).repeat(rows, 1),
        log_p_NK=p_NV.log(),
        log_tail_N=torch.full((rows,), -torch.inf),
        weight_N=torch.ones(rows),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSED)
def test_several_teachers_have_the_gradient_of_their_mixture(
    trained: dict[str, Trained], name: str
) -> None:
    targets, label_N = targets_of(trained[name], range(20))
    assert len(targets) == 2
    torch.manual_seed(0)
    hidden_NH = torch.randn(len(label_N), 16, dtype=torch.float64)
    weight_VH = torch.randn(VOCABULARY, 16, dtype=torch.float64)
    found = []
    for taught in (targets, [distribution(mixture(targets))]):
        inputs = [hidden_NH.clone().requires_grad_(), weight_VH.clone().requires_grad_()]
        goal = Objective("tail_bucket", ALPHA)
        loss, _ = fused_linear_loss(*inputs, label_N, taught, goal, workspace_bytes=2**22)
        loss.backward()
        found.append([each.grad for each in inputs])
    for several, one in zip(*found, strict=True):
        assert several is not None and one is not None
        assert float((several - one).norm() / one.norm()) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSED)
def test_the_ranks_first_gradient_norm_is_that_of_the_mixture_in_float64(
    trained: dict[str, Trained], name: str
) -> None:
    run = trained[name]
    student: Any = AutoModelForCausalLM.from_pretrained(run.recipe.student.model).double()
    numbers = first_step(run)
    rows = 0
    for number in numbers:
        targets, label_N = targets_of(run, [number])
        example, p_NV = run.tokens.example(number), mixture(targets)
        ids_1T = torch.from_numpy(example.token_id_T.astype(np.int64))[None]
        log_q_NV = student(input_ids=ids_1T).logits[0, example.row_N].log_softmax(dim=1)
        kd = (p_NV * (p_NV.log() - log_q_NV)).sum()
        ce = -log_q_NV.gather(1, label_N[:, None]).sum()
        ((1 - ALPHA) * ce + ALPHA * kd).backward()
        rows += len(label_N)
    gradients = [each.grad.flatten() for each in student.parameters()]
    norm = float(torch.cat(gradients).norm()) / rows
    assert run.steps[0]["gradient_norm"] == pytest.approx(norm, rel=1e-5)


@pytest.mark.slow
def test_a_row_hears_only_the_teacher_of_its_category(trained: dict[str, Trained]) -> None:
    run = trained["a teacher for each category"]
    for number, example in enumerate(run.tokens.examples()):
        (big, other), _ = targets_of(run, [number])
        assert bool((big.weight_N == (example.category == "math")).all())
        assert bool((other.weight_N == (example.category == "rewrite")).all())
