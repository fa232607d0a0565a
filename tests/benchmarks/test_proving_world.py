"""The proving ground's world: right answers are right, wrong ones not; train and test are apart."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable

import pytest

from agents.checks import LengthBounds, run_checks
from benchmarks.proving_ground.world.draw import FAMILIES, World, right_response
from benchmarks.proving_ground.world.family import (
    LANGUAGES,
    LEVELS,
    Problem,
    split_of_content,
    split_of_phrasing,
)


def is_right(problem: Problem, response: str) -> bool:
    """As the factory decides where nobody is asked: a check settles it and none fails."""
    results = run_checks(
        instruction=problem.instruction,
        input=problem.input,
        response=response,
        reference=problem.reference,
        category=problem.category,
        language=problem.language,
        finish_reason="stop",
        bounds=LengthBounds(),
    )
    passed = any(result.decisive and result.label == "pass" for result in results)
    return passed and not any(result.label == "fail" for result in results)


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return World(7).problems(960, "train") + World(7).problems(480, "test")


def test_every_response_that_the_law_draws_is_found_right(problems: list[Problem]) -> None:
    numbers = random.Random(0)
    for problem in problems:
        response = right_response(problem, numbers)
        assert is_right(problem, response), (problem, response)


def test_the_answer_to_another_problem_is_never_found_right(problems: list[Problem]) -> None:
    numbers = random.Random(0)
    alike: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        alike[problem.family, problem.language].append(problem)
    for problem in problems:
        other = numbers.choice(alike[problem.family, problem.language])
        if other.reference != problem.reference:
            response = right_response(other, numbers)
            assert not is_right(problem, response), (problem, response)


def test_families_languages_and_levels_have_equal_parts(problems: list[Problem]) -> None:
    counts: dict[tuple[str, str, int], int] = defaultdict(int)
    for problem in problems[:960]:
        counts[problem.family, problem.language, problem.level] += 1
    assert len(counts) == len(FAMILIES) * len(LANGUAGES) * len(LEVELS) == 48
    assert set(counts.values()) == {20}


def told(problem: Problem) -> tuple[str, str]:
    """The problem in English and in one phrasing, however it was drawn."""
    return FAMILIES[problem.family].ask(problem.facts, "en", 0, 0)


def test_a_test_problem_shares_neither_content_nor_phrasing_with_any_training_problem() -> None:
    world = World(1)
    train, test = world.problems(4000, "train"), world.problems(960, "test")
    assert {split_of_content(p.content) for p in train} == {"train"}
    assert {split_of_phrasing(*p.phrasing) for p in train} == {"train"}
    phrasings = {(p.family, p.phrasing) for p in train}
    assert not any((p.family, p.phrasing) in phrasings for p in test)
    known = {told(p) for p in train}
    assert not [p for p in test if told(p) in known]
    assert len({p.content for p in test}) == len({told(p) for p in test}) == len(test)


@pytest.mark.parametrize(
    ("family", "read"),
    [
        ("purchases", lambda text: re.findall(r"\d+", text)),
        ("records", lambda text: sorted(re.findall(r"\d+|[A-Z][a-z]+|as a \w+", text))),
        ("orders", lambda text: sorted(re.findall(r"\w+ is \w+ than \w+|the \w+ first", text))),
    ],
)
def test_what_is_told_in_another_way_is_not_another_content(
    family: str, read: Callable[[str], list[str]]
) -> None:
    """Other names round the same numbers, the same facts in another order."""
    world = World(1, families=(family,))
    known = {tuple(read(told(p)[0])) for p in world.problems(3000, "train")}
    assert not [p for p in world.problems(96, "test") if tuple(read(told(p)[0])) in known]


def test_every_opening_and_every_question_of_the_test_occurs_in_training() -> None:
    train, test = World(2).problems(4000, "train"), World(2).problems(960, "test")
    known = {(p.family, "a", p.phrasing[0]) for p in train}
    known |= {(p.family, "b", p.phrasing[1]) for p in train}
    asked = {(p.family, "a", p.phrasing[0]) for p in test}
    asked |= {(p.family, "b", p.phrasing[1]) for p in test}
    assert asked <= known


def test_no_problem_is_drawn_twice_and_a_seed_draws_the_same_again() -> None:
    world = World(3)
    both = world.problems(1200, "train") + world.problems(1200, "train")
    assert len({p.prompt for p in both}) == 2400
    assert World(3).problems(1200, "train") == both[:1200]
    assert World(4).problems(1200, "train") != both[:1200]


def test_a_problem_has_several_right_responses() -> None:
    numbers = random.Random(0)
    for problem in World(5).problems(48, "train"):
        drawn = {right_response(problem, numbers) for _ in range(60)}
        assert len(drawn) >= 4, problem
