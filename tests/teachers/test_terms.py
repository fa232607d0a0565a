"""Terms: what users write, and the strictest word winning over all who wrote part of a text."""

from __future__ import annotations

import orjson
import pytest
import yaml
from pydantic import ValidationError

from teachers.terms import (
    Contribution,
    Permission,
    Terms,
    merge_contributions,
    strictest,
    training_permission,
)


def contribution(teacher: str, allows_training: Permission = "true") -> Contribution:
    return Contribution(
        teacher=teacher,
        model=f"{teacher}-1",
        licence="Apache-2.0",
        allows_training=allows_training,
        note=None,
        simulated=False,
    )


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("{allows_training: true}", "true"),
        ("{allows_training: false}", "false"),
        ("{allows_training: unknown}", "unknown"),
        ('{allows_training: "false"}', "false"),
        ("{}", "unknown"),
    ],
)
def test_yaml_booleans_and_words_are_the_three_labels(text: str, label: str) -> None:
    assert Terms.model_validate(yaml.safe_load(text)).allows_training == label


@pytest.mark.parametrize(
    "text", ["{allows_training: maybe}", "{allows_training: 1}", "{license: MIT}"]
)
def test_other_words_and_unknown_keys_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Terms.model_validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("true", "true"), "true"),
        (("true", "unknown"), "unknown"),
        (("unknown", "false", "true"), "false"),
        (("false",), "false"),
        ((), "unknown"),
    ],
)
def test_the_strictest_label_binds_all(
    labels: tuple[Permission, ...], expected: Permission
) -> None:
    assert strictest(*labels) == expected
    assert (
        training_permission([contribution(f"t{n}", label) for n, label in enumerate(labels)])
        == expected
    )


def test_merging_keeps_each_contribution_once_in_order_of_first_writing() -> None:
    a, b, c = contribution("a"), contribution("b"), contribution("c")
    assert merge_contributions((b, a), [a, c, b, c]) == (b, a, c)


def test_the_same_teacher_under_other_terms_is_another_contribution() -> None:
    before, after = contribution("a", "true"), contribution("a", "false")
    merged = merge_contributions((before,), [after])
    assert merged == (before, after)
    assert training_permission(merged) == "false"


def test_a_contribution_survives_json() -> None:
    terms = Terms(allows_training="false", licence="Qwen", note="研究用のみ")
    written = terms.contribution("api", "qwen-max", simulated=True)
    read = Contribution.from_dict(orjson.loads(orjson.dumps(written.as_dict())))
    assert read == written
    assert read.note == "研究用のみ"
    assert read.simulated


def test_a_stored_label_outside_the_three_is_an_error_not_a_permission() -> None:
    row = contribution("a").as_dict() | {"allows_training": "yes"}
    with pytest.raises(ValueError, match="yes"):
        Contribution.from_dict(row)
