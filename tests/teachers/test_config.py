"""A teacher's section of a recipe: what is accepted, what is refused, and that no key shows."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from teachers.config import (
    AnyTeacher,
    OpenAITeacher,
    RecordedTeacher,
    RetrySettings,
    SimulatedTeacher,
    TeacherSettings,
    VllmTeacher,
)

SECRET = "sk-Zq81-not-for-anybody"
URL = "http://127.0.0.1:8000/v1"
OPENAI = {"kind": "openai", "base_url": URL, "model": "m"}
VLLM = {"kind": "vllm", "base_url": URL, "model": "m"}
MANAGED = {"kind": "vllm", "server": {"model": "hub/tiny"}}
SIMULATED = {"kind": "simulated"}
RECORDED = {"kind": "recorded", "path": "old.jsonl.gz", "model": "gpt-9"}
EVERY_KIND = [OPENAI, VLLM, MANAGED, SIMULATED, RECORDED]


def read(values: dict[str, Any]) -> TeacherSettings:
    teacher: TeacherSettings = TypeAdapter(AnyTeacher).validate_python(values)
    return teacher


def refused(values: dict[str, Any]) -> str:
    """Why the settings are refused, in pydantic's own words."""
    kinds = {"openai": OpenAITeacher, "vllm": VllmTeacher, "simulated": SimulatedTeacher,
             "recorded": RecordedTeacher}  # fmt: skip
    with pytest.raises(ValidationError):
        read(values)
    with pytest.raises(ValidationError) as caught:
        kinds[values["kind"]].model_validate(values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "model"),
    [
        (OPENAI, OpenAITeacher, "m"),
        (VLLM, VllmTeacher, "m"),
        (MANAGED, VllmTeacher, "hub/tiny"),
        (SIMULATED, SimulatedTeacher, "simulated-teacher"),
        ({**SIMULATED, "simulation": {"model": "simulated-b"}}, SimulatedTeacher, "simulated-b"),
        (RECORDED, RecordedTeacher, "gpt-9"),
    ],
)
def test_kinds_are_told_apart_and_name_their_model(
    values: dict[str, Any], kind: type[TeacherSettings], model: str
) -> None:
    teacher = read(values)
    assert type(teacher) is kind
    assert teacher.model_name == model


@pytest.mark.parametrize("values", EVERY_KIND)
def test_an_unknown_key_is_refused_by_its_name(values: dict[str, Any]) -> None:
    assert "temprature" in refused({**values, "temprature": 0.5})


@pytest.mark.parametrize(
    "section",
    [
        {"retry": {"atempts": 3}},
        {"limits": {"rps": 3}},
        {"terms": {"allows": True}},
        {"prices": {"usd": 3}},
    ],
)
def test_an_unknown_key_inside_a_section_is_refused_too(section: dict[str, Any]) -> None:
    assert next(iter(next(iter(section.values())))) in refused({**OPENAI, **section})


@pytest.mark.parametrize(
    "values", [{"kind": "anthropic"}, {}, {"base_url": URL, "model": "m"}, {"kind": None}]
)
def test_an_unknown_or_missing_kind_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="kind"):
        read(values)


@pytest.mark.parametrize("missing", ["base_url", "model"])
def test_an_endpoint_needs_its_address_and_its_model(missing: str) -> None:
    assert missing in refused({k: v for k, v in OPENAI.items() if k != missing})


# base_url.


@pytest.mark.parametrize("values", [OPENAI, VLLM, SIMULATED])
@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}@host/v1",
        f"https://{SECRET}@host/v1",
        f"https://:{SECRET}@host/v1",
        f"https://host/v1?key={SECRET}",
        f"https://host/v1?api_key={SECRET}",
        f"https://host/v1?api-version=1&API-Key={SECRET}",
        f"https://host/v1?access_token={SECRET}",
        f"https://host/v1?client_secret={SECRET}",
        f"https://host/v1?password={SECRET}",
        f"https://host/v1?sig={SECRET}",
        f"https://host/v1?code={SECRET}",
        f"https://host/v1?Authorization={SECRET}",
        f"https://host/v1?X-Amz-Signature={SECRET}",
        f"https://host/v1#token={SECRET}",
    ],
)
def test_a_credential_in_the_address_is_refused_and_not_repeated(
    values: dict[str, Any], url: str
) -> None:
    told = refused({**values, "base_url": url})
    assert "must not hold a credential" in told
    assert SECRET not in told


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://127.0.0.1:8000/v1",
        "https://host.example/openai/v1?api-version=2025-01-01",
        "https://host.example/v1?region=eu&designer=1",
        "http://[::1]:8000/v1",
    ],
)
def test_an_ordinary_address_is_taken_as_it_stands(url: str) -> None:
    teacher = read({**OPENAI, "base_url": url})
    assert isinstance(teacher, OpenAITeacher)
    assert teacher.base_url == url


def test_a_slash_at_the_end_makes_no_other_endpoint() -> None:
    with_slash, without = (read({**OPENAI, "base_url": url}) for url in (f"{URL}/", URL))
    assert with_slash == without


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://host/v1", "http://", "", "host/v1"])
def test_what_is_no_web_address_is_refused(url: str) -> None:
    assert "http://" in refused({**OPENAI, "base_url": url})


# Keys.


@pytest.mark.parametrize("values", [OPENAI, VLLM])
@pytest.mark.parametrize("key", [SECRET, "sk-proj-1234567890", "Bearer abc", "hf_aBcDeF", ""])
def test_a_key_in_the_place_of_its_variables_name_is_refused_and_not_repeated(
    values: dict[str, Any], key: str
) -> None:
    told = refused({**values, "api_key_env": key})
    assert "name of an environment variable" in told
    assert not key or key not in told


@pytest.mark.parametrize("values", EVERY_KIND)
def test_a_key_under_a_name_that_there_is_not_is_refused_and_not_repeated(
    values: dict[str, Any],
) -> None:
    told = refused({**values, "api_key": SECRET})
    assert "api_key" in told
    assert SECRET not in told


def test_the_variables_name_is_all_that_settings_hold_of_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    teacher = read({**OPENAI, "api_key_env": "MY_KEY"})
    assert "MY_KEY" in repr(teacher)
    for shown in (repr(teacher), str(teacher), teacher.model_dump_json()):
        assert SECRET not in shown


# vLLM.


def test_a_vllm_teacher_is_started_or_runs_and_not_both_or_neither() -> None:
    told = "give either server (Stillhouse starts it) or base_url (it runs)"
    assert told in refused({"kind": "vllm"})
    assert told in refused({**MANAGED, "base_url": URL})
    assert told in refused({"kind": "vllm", "model": "m"})


def test_a_running_vllm_server_needs_the_name_of_its_model() -> None:
    assert "give the model" in refused({"kind": "vllm", "base_url": URL})


@pytest.mark.parametrize(
    ("key", "value"), [("model", "other"), ("revision", "main"), ("api_key_env", "MY_KEY")]
)
def test_what_a_managed_server_would_not_heed_is_refused(key: str, value: str) -> None:
    assert f"{key} is for a server at base_url" in refused({**MANAGED, key: value})


def test_local_teachers_are_free_and_others_have_no_price_until_the_recipe_gives_one() -> None:
    assert [read(values).prices.known for values in EVERY_KIND] == [False, True, True, True, True]


# Terms.


@pytest.mark.parametrize(
    ("written", "label"),
    [("true", "true"), ("false", "false"), ("yes", "true"), ("unknown", "unknown"),
     ("'true'", "true")],
)  # fmt: skip
def test_allows_training_may_be_a_yaml_boolean_or_a_word(written: str, label: str) -> None:
    values = {**OPENAI, "terms": yaml.safe_load(f"allows_training: {written}")}
    assert read(values).terms.allows_training == label


@pytest.mark.parametrize("wrong", ["perhaps", "True ", 1, None, "yes"])
def test_any_other_word_for_allows_training_is_refused(wrong: object) -> None:
    assert "allows_training" in refused({**OPENAI, "terms": {"allows_training": wrong}})


def test_what_terms_say_is_unknown_unless_written_and_a_rehearsal_trains_nothing() -> None:
    labels = [read(values).terms.allows_training for values in EVERY_KIND]
    assert labels == ["unknown", "unknown", "unknown", "false", "unknown"]


# The rest.


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 101},
        {"first_wait_s": -1},
        {"longest_wait_s": -0.1},
        {"unreachable_patience_s": -1},
        {"unreachable_patience_s": float("nan")},
    ],
)
def test_retries_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RetrySettings.model_validate(wrong)


@pytest.mark.parametrize("values", EVERY_KIND)
def test_settings_cannot_be_changed_once_read(values: dict[str, Any]) -> None:
    teacher = read(values)
    with pytest.raises(ValidationError):
        teacher.timeout_s = 1.0


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"structured": "xml"}, {"extra_body": "x"}])
def test_other_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    assert next(iter(wrong)) in refused({**OPENAI, **wrong})


def test_a_simulated_teacher_must_be_named_so() -> None:
    assert "simulated" in refused({**SIMULATED, "simulation": {"model": "gpt-9"}})
