"""Random rows of every awkward kind, for all tests of the losses."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor

from training.losses.objective import Objective
from training.losses.targets import SparseTargets

TRITON_RUNS = torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
VOCABULARY = 37
ROWS = 6

Teachers = tuple[Tensor, list[tuple[Tensor, int, float]]]
"""A student's logits; and each teacher's logits, how many ids it keeps, and its weight."""

# How far the first logit leads: 1 - P is down to 1e-9, to 1e-17 (nothing beside one), to 1e-35.
SURE_TEACHERS = {"sure_teacher": 20.0, "surer_teacher": 40.0, "surest_teacher": 80.0}


@dataclass(frozen=True)
class Rows:
    """Logits of a student, labels, and the targets of its teachers."""

    logits_NV: Tensor
    label_N: Tensor
    targets: list[SparseTargets]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`backend` is torch, and triton where a GPU or its interpreter can run it."""
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", ["torch", "triton"] if TRITON_RUNS else ["torch"])


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    on_gpu = "backend" in request.fixturenames and request.getfixturevalue("backend") == "triton"
    return "cuda" if on_gpu and torch.cuda.is_available() else "cpu"


@pytest.fixture
def top_k(device: str) -> Callable[..., SparseTargets]:
    """The targets that a teacher with these logits would leave behind, in float32."""

    def make(logits_NV: Tensor, k: int, objective: Objective, weight: float = 1.0) -> SparseTargets:
        log_p_NV = logits_NV.double().log_softmax(dim=1)
        log_p_NK, id_NK = log_p_NV.topk(k, dim=1)
        rest_NV = log_p_NV.scatter(1, id_NK, -math.inf)
        if objective.name == "sampled":
            log_p_NK = log_p_NK.log_softmax(dim=1)
            rest_NV = torch.full_like(rest_NV, -math.inf)
        return SparseTargets(
            id_NK=id_NK,
            log_p_NK=log_p_NK.float(),
            log_tail_N=rest_NV.logsumexp(dim=1).float(),
            weight_N=torch.full((len(logits_NV),), weight, device=logits_NV.device),
            log_z_N=(log_p_NV / objective.temperature).logsumexp(dim=1).float(),
        )

    return make


def _ordinary(draw: Callable[..., Tensor]) -> Teachers:
    return draw(2.0), [(draw(2.0), 5, 1.0)]


def _ties(draw: Callable[..., Tensor]) -> Teachers:
    return draw(1.0).round(), [(draw(1.0).round(), 5, 1.0)]


def _whole_vocabulary(draw: Callable[..., Tensor]) -> Teachers:
    return draw(2.0), [(draw(2.0), VOCABULARY, 1.0)]


def _one_id(draw: Callable[..., Tensor]) -> Teachers:
    return draw(2.0), [(draw(2.0), 1, 1.0)]


def _sure_teacher(draw: Callable[..., Tensor], lead: float) -> Teachers:
    teacher_NV = draw(2.0)
    first_NV = teacher_NV >= teacher_NV.amax(dim=1, keepdim=True)
    return draw(2.0), [(teacher_NV + lead * first_NV, 5, 1.0)]


def _sure_student(draw: Callable[..., Tensor]) -> Teachers:
    return draw(60.0), [(draw(2.0), 5, 1.0)]


def _student_sure_of_k(draw: Callable[..., Tensor]) -> Teachers:
    teacher_NV = draw(2.0)
    on_K_NV = teacher_NV >= teacher_NV.topk(5, dim=1).values[:, -1:]
    return draw(2.0) + 120.0 * on_K_NV, [(teacher_NV, 5, 1.0)]


def _near_the_teacher(draw: Callable[..., Tensor]) -> Teachers:
    teacher_NV = draw(2.0)
    return teacher_NV + draw(0.1), [(teacher_NV, 5, 1.0)]


def _several_teachers(draw: Callable[..., Tensor]) -> Teachers:
    teacher_NV = draw(2.0)
    return draw(2.0), [
        (teacher_NV, 5, 0.25),
        (teacher_NV + draw(0.5), 8, 0.75),
        (draw(2.0), 3, 0.0),
    ]


SITUATIONS = {
    "ordinary": _ordinary,
    "ties": _ties,
    "whole_vocabulary": _whole_vocabulary,
    "one_id": _one_id,
    **{name: partial(_sure_teacher, lead=lead) for name, lead in SURE_TEACHERS.items()},
    "sure_student": _sure_student,
    "student_sure_of_k": _student_sure_of_k,
    "near_the_teacher": _near_the_teacher,
    "several_teachers": _several_teachers,
}


@pytest.fixture(params=[*SITUATIONS, "padding"])
def situation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_rows(device: str, top_k: Callable[..., SparseTargets]) -> Callable[..., Rows]:
    """Rows of a situation: labels are first ids, others of K, or any id of the vocabulary."""

    def make(situation: str, objective: Objective, seed: int = 0) -> Rows:
        generator = torch.Generator().manual_seed(seed)

        def draw(scale: float) -> Tensor:
            return scale * torch.randn(ROWS, VOCABULARY, generator=generator)

        padded = situation == "padding"
        logits_NV, teachers = SITUATIONS["several_teachers" if padded else situation](draw)
        targets = [top_k(logits.to(device), k, objective, w) for logits, k, w in teachers]
        label_N = torch.randint(VOCABULARY, (ROWS,), generator=generator).to(device)
        label_N[::3] = targets[0].id_NK[::3, 0]
        label_N[1::3] = targets[-1].id_NK[1::3, -1]
        if padded:
            for keep, target in enumerate(targets):
                target.id_NK[:3, keep:] = -1
                target.log_p_NK[:3, keep:] = -math.inf
        return Rows(logits_NV.to(device), label_N, targets)

    return make


@pytest.fixture
def random_rows(device: str, top_k: Callable[..., SparseTargets]) -> Callable[..., Rows]:
    """Rows of a shape that a seed decides: any number of rows, ids, teachers, and ids kept."""

    def make(objective: Objective, seed: int) -> Rows:
        generator = torch.Generator().manual_seed(seed)

        def whole(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (), generator=generator))

        rows, vocabulary, teachers = whole(1, 8), whole(1, 400), whole(1, 3)
        logits = 2.0 * torch.randn(teachers + 1, rows, vocabulary, generator=generator)
        targets = [
            top_k(each.to(device), whole(1, min(vocabulary, 24)), objective, 1 / teachers)
            for each in logits[1:]
        ]
        label_N = torch.randint(vocabulary, (rows,), generator=generator)
        return Rows(logits[0].to(device), label_N.to(device), targets)

    return make
