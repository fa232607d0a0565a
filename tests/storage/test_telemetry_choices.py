"""Which seeds' traces are exported, where they go, and whose models are whose."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import CorpusMaker

from storage.database import Database
from storage.errors import NotFound
from storage.telemetry.attributes import provider_of
from storage.telemetry.choosing import SeedChoice, chosen_seeds, count_seeds
from storage.telemetry.errors import TelemetryRefused
from storage.telemetry.receiver import endpoint_of
from storage.telemetry.variables import read_headers


def test_a_share_is_always_the_same_seeds_and_part_of_a_larger_one(
    database: Database, corpus: CorpusMaker
) -> None:
    every = {corpus.seed(f"Add {n} and 3.") for n in range(60)}
    few = list(chosen_seeds(database, SeedChoice(share=0.2), page=3))
    more = list(chosen_seeds(database, SeedChoice(share=0.5), page=7))
    assert few == list(chosen_seeds(database, SeedChoice(share=0.2)))
    assert set(few) < set(more) < every
    assert more[: len(few)] == few
    assert set(chosen_seeds(database, SeedChoice())) == every
    assert list(chosen_seeds(database, SeedChoice(share=0.5, limit=4), page=3)) == more[:4]
    with database.read() as connection:
        counted = count_seeds(connection, SeedChoice(share=0.2))
        assert (counted.all, counted.chosen) == (60, len(few))
        assert count_seeds(connection, SeedChoice(limit=4)).chosen == 4


def test_seeds_are_chosen_by_recipe_and_by_what_became_of_their_samples(
    database: Database, corpus: CorpusMaker
) -> None:
    good, bad = corpus.seed("a"), corpus.seed("b")
    corpus.sample(good)
    corpus.sample(bad, status="rejected", reason="off_language")
    working = corpus.seed("c", status="pending", reason=None)
    other = corpus.seed("d", recipe="others")

    def chosen(**choice: Any) -> set[str]:
        return set(chosen_seeds(database, SeedChoice(**choice)))

    assert chosen() == {good, bad, other}
    assert working not in chosen()
    assert chosen(recipe="others") == {other}
    assert chosen(status="rejected") == {bad}
    assert chosen(status="accepted", recipe="tests") == {good}
    with database.read() as connection:
        assert count_seeds(connection, SeedChoice(recipe="tests")).pending == 1
        with pytest.raises(NotFound, match="no seeds of a recipe 'x'"):
            count_seeds(connection, SeedChoice(recipe="x"))


@pytest.mark.parametrize(
    "choice", [{"share": 0}, {"share": 1.5}, {"share": float("nan")}, {"status": "nice"}]
)
def test_a_choice_of_nothing_is_refused(choice: dict[str, Any]) -> None:
    with pytest.raises(TelemetryRefused):
        SeedChoice(**choice)


@pytest.mark.parametrize(
    ("given", "variables", "url"),
    [
        ("http://a:6006", {}, "http://a:6006/v1/traces"),
        ("http://a:6006/", {}, "http://a:6006/v1/traces"),
        ("https://a/api/public/otel", {}, "https://a/api/public/otel/v1/traces"),
        ("https://a/x/v1/traces", {}, "https://a/x/v1/traces"),
        (None, {"ENDPOINT": "http://b:4318"}, "http://b:4318/v1/traces"),
        (None, {"ENDPOINT": "http://b", "TRACES_ENDPOINT": "http://c/in"}, "http://c/in"),
        ("http://a", {"TRACES_ENDPOINT": "http://c/in"}, "http://a/v1/traces"),
    ],
)
def test_the_endpoint_is_found_as_opentelemetry_has_it(
    given: str | None, variables: dict[str, str], url: str
) -> None:
    named = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    assert endpoint_of(given, named) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter2@a", "https://hunter2@a", "https://a/?api_key=hunter2",
        "https://a?hunter2", "https://a/#hunter2", "ftp://hunter2@a", "hunter2@a:6006",
        "me:hunter2@a", "http:/hunter2@a", "http://[hunter2@a", "ftp://a", "localhost:6006", "http://",
    ],
)  # fmt: skip
def test_an_endpoint_that_is_none_or_holds_a_credential_is_refused(url: str) -> None:
    for given, variables in (
        (url, {}),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": url}),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url}),
    ):
        with pytest.raises(TelemetryRefused) as refused:
            endpoint_of(given, variables)
        error = refused.value
        assert "hunter2" not in f"{error} {error.cause} {error.solution} {error.command}"
        assert str(next(iter(variables), "--endpoint")) in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADERS", "Authorization: Bearer hunter2"),
        ("HEADERS", "x-first=1,hunter2"),
        ("HEADERS", "=hunter2"),
        ("HEADERS", 'Authorization="hunter2"'),
        ("HEADERS", "Authorization=Bearer%20hunter2%0d%0ax-other:1"),
        ("HEADERS", "Authorization=hunter2\x00"),
        ("HEADERS", "Authorization=hunter2%7F"),
        ("HEADERS", "Authorization=hunter2%E7%A7%98"),
        ("HEADERS", "x%20y=hunter2"),
        ("TRACES_HEADERS", "Authorization: hunter2"),
        ("TIMEOUT", "hunter2"),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "-1"),
        ("TIMEOUT", "inf"),
        ("TRACES_TIMEOUT", "nan"),
        ("COMPRESSION", "hunter2"),
        ("TRACES_COMPRESSION", "hunter2"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named_without_its_value(name: str, value: str) -> None:
    variable = f"OTEL_EXPORTER_OTLP_{name}"
    with pytest.raises(TelemetryRefused) as refused:
        read_headers({variable: value})
    error = refused.value
    assert str(error).startswith(f"{variable} cannot be read")
    assert "hunter2" not in f"{error} {error.cause} {error.solution}"


@pytest.mark.parametrize(
    ("variables", "headers"),
    [
        ({}, {}),
        ({"HEADERS": "A=Bearer%20x==, x-b = 2,"}, {"a": "Bearer x==", "x-b": "2"}),
        ({"HEADERS": "Authorization=Bearer x"}, {"authorization": "Bearer x"}),
        ({"HEADERS": "no header", "TRACES_HEADERS": "a=b"}, {"a": "b"}),
        ({"TIMEOUT": "0.5", "TRACES_TIMEOUT": "", "COMPRESSION": " GZip"}, {}),
    ],
)  # fmt: skip
def test_variables_are_read_as_the_exporter_reads_them(
    variables: dict[str, str], headers: dict[str, str]
) -> None:
    named = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    assert read_headers(named) == headers


@pytest.mark.parametrize(
    ("endpoint", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai", "azure"),
        ("https://api.deepseek.com", "deepseek"),
        ("http://127.0.0.1:8000/v1", None),
        ("https://notapi.openai.com.example.org", None),
        ("simulated", None),
    ],
)
def test_a_provider_is_known_by_its_host_alone(endpoint: str, provider: str | None) -> None:
    assert provider_of(endpoint) == provider
