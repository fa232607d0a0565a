"""The key changes with everything that rows depend on, and with nothing else."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from teacher_rows import SOURCE, example

from training.store.key import CaptureForm, RowsSource, token_ids_hash


@pytest.mark.parametrize("field", ["model", "revision", "engine", "dtype"])
def test_another_teacher_is_another_key(field: str) -> None:
    teacher = dataclasses.replace(SOURCE.teacher, **{field: "other"})
    other = dataclasses.replace(SOURCE, teacher=teacher)
    assert other.key(example(0)) != SOURCE.key(example(0))
    assert SOURCE.differences(other) == [
        f"teacher {field} other instead of {getattr(SOURCE.teacher, field)}"
    ]


@pytest.mark.parametrize("field", ["tokenizer_fingerprint", "template_fingerprint"])
def test_another_tokenizer_or_template_is_another_key(field: str) -> None:
    other = dataclasses.replace(SOURCE, **{field: "other"})
    assert other.key(example(0)) != SOURCE.key(example(0))
    assert len(SOURCE.differences(other)) == 1


@pytest.mark.parametrize(
    "form",
    [
        CaptureForm.top_k(11),
        CaptureForm.top_k(10, [2.0]),
        CaptureForm.sampled(10, seed=0),
        CaptureForm.sampled(10, seed=1),
    ],
)
def test_another_form_is_another_key(form: CaptureForm) -> None:
    other = dataclasses.replace(SOURCE, form=form)
    assert other.key(example(0)) != SOURCE.key(example(0))


def test_the_forms_of_two_seeds_differ_only_where_something_is_drawn() -> None:
    assert CaptureForm.sampled(10, seed=0) != CaptureForm.sampled(10, seed=1)
    assert CaptureForm.top_k(10).seed is None


def test_temperatures_in_another_order_with_or_without_one_are_the_same_form() -> None:
    assert CaptureForm.top_k(10, [2.0, 1.0, 0.5]) == CaptureForm.top_k(10, (0.5, 2.0))


def test_other_token_ids_or_other_trained_tokens_are_another_key() -> None:
    one = example(0)
    changed = one.token_id_T.copy()
    changed[3] += 1
    untrained = one.trained_T.copy()
    untrained[-1] = False
    others = [
        dataclasses.replace(one, token_id_T=changed),
        dataclasses.replace(one, trained_T=untrained),
        dataclasses.replace(one, token_id_T=one.token_id_T[:-1], trained_T=one.trained_T[:-1]),
    ]
    keys = {SOURCE.key(each) for each in (one, *others)}
    assert len(keys) == 4


def test_the_same_tokens_have_one_key_whatever_the_sample_is_called_and_however_they_are_held() -> (
    None
):
    one = example(0)
    other = dataclasses.replace(
        one,
        id="x",
        sample_id="y",
        family_id="z",
        token_id_T=np.repeat(one.token_id_T, 2).astype(np.int64)[::2],
    )
    assert SOURCE.key(other) == SOURCE.key(one)
    assert len(SOURCE.key(one)) == len(token_ids_hash(one)) == 32


def test_a_source_survives_json() -> None:
    for form in (CaptureForm.top_k(10, [0.5, 2.0]), CaptureForm.sampled(50, seed=3)):
        source = dataclasses.replace(SOURCE, form=form)
        again = RowsSource.from_dict(json.loads(json.dumps(source.as_dict())))
        assert again == source and again.hash == source.hash
