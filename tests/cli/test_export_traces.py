"""`stillhouse export-traces` on a real run's corpus, to a receiver that is really there."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from factory import corpus_of, environment, one, rows, run, simulated, write_recipe
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from otlp import Otlp, children, receiving, said_of

from cli.main import main

KEY = "sk-live-4f9d0c1b2a3e4d5c6b7a"


class Said(NamedTuple):
    """What the command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in English, Japanese and Chinese, by a teacher that fails now and then."""
    recipe = write_recipe(
        tmp_path_factory.mktemp("traced"),
        teachers={"local": simulated(server_error=0.2, seed=3)},
    )
    asyncio.run(run(recipe))
    return corpus_of(recipe)


@pytest.fixture
def otlp() -> Iterator[Otlp]:
    """A receiver."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def type_(
    made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Types the command on that corpus, with nothing of OpenTelemetry in the environment."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS", "TRACES_HEADERS", "COMPRESSION"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")

    def typed(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["export-traces", *words, "--db", str(made)])
        out, err = capsys.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return typed


Type = Callable[..., Said]


def test_every_row_of_a_run_is_a_span_with_its_own_times(
    type_: Type, otlp: Otlp, made: Path
) -> None:
    said = type_("--endpoint", otlp.url, "--json")
    assert said.code == 0
    assert otlp.paths == ["/v1/traces"] * len(otlp.paths)
    spans = otlp.spans
    roots = [span for span in spans if not span.parent_span_id]
    named = [said_of(span)["openinference.span.kind"] for span in spans]
    counts = {
        "seeds": one(made, "SELECT count(*) FROM seed"),
        "samples": one(made, "SELECT count(*) FROM sample"),
        "questions": one(made, "SELECT count(*) FROM agent_call WHERE error_type IS NULL"),
        "gates": one(made, "SELECT count(*) FROM verdict WHERE kind = 'gate'"),
        "verdicts": one(made, "SELECT count(*) FROM verdict WHERE kind <> 'gate'")
        + one(made, "SELECT count(*) FROM score"),
    }
    assert len(roots) == counts["seeds"] == len({span.trace_id for span in spans}) == 6
    assert named.count("CHAIN") == counts["seeds"] + counts["samples"]
    assert named.count("LLM") == counts["questions"]
    assert named.count("GUARDRAIL") == counts["gates"]
    assert named.count("EVALUATOR") == counts["verdicts"]
    retries = sum(event.name == "retry" for span in spans for event in span.events)
    assert retries == one(made, "SELECT count(*) FROM agent_call WHERE error_type IS NOT NULL") > 0
    assert {span.status.code for span in spans} == {Status.STATUS_CODE_OK}
    took = {
        row["id"]: row["latency_s"] for row in rows(made, "SELECT id, latency_s FROM agent_call")
    }
    for span in spans:
        if said_of(span)["openinference.span.kind"] == "LLM" and not span.events:
            lasted = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
            call = json.loads(said_of(span)["metadata"])["call"]
            assert lasted == pytest.approx(took[call], abs=1e-6)
    tokens = sum(said_of(span).get("llm.token_count.total", 0) for span in spans)
    assert tokens == one(
        made,
        "SELECT sum(prompt_tokens + completion_tokens) FROM agent_call "
        "WHERE error_type IS NULL AND NOT cached",
    )
    assert said.json == {
        "target": f"{otlp.url}/v1/traces", "seeds": 6, "pending": 0, "traces": 6,
        "spans": len(spans), "rejected": 0, "said": None, "share": 1.0, "content": True,
    }  # fmt: skip
    assert "traces   6 of 6 seeds (100 %)" in said.out


def test_text_in_every_language_arrives_whole(type_: Type, otlp: Otlp, made: Path) -> None:
    type_("--endpoint", otlp.url)
    sent = {said_of(span).get("output.value") for span in otlp.spans if span.name == "sample"}
    held = {row["response"] for row in rows(made, "SELECT response FROM sample")}
    assert sent == held
    assert {said_of(span)["input.value"] for span in otlp.spans if span.name == "seed"} == {
        row["instruction"] for row in rows(made, "SELECT instruction FROM seed")
    }


def test_without_content_counts_stay_and_texts_do_not(type_: Type, otlp: Otlp, made: Path) -> None:
    said = type_("--endpoint", otlp.url, "--no-content", "--json")
    sent = b"".join(otlp.bodies)
    texts = [
        row["words"]
        for row in rows(
            made,
            "SELECT instruction AS words FROM seed UNION SELECT instruction FROM sample "
            "UNION SELECT response FROM sample WHERE response IS NOT NULL "
            "UNION SELECT content FROM completion",
        )
    ]
    assert len(texts) > 30
    assert not [text for text in texts if len(text) > 3 and text.encode() in sent]
    assert said.json["content"] is False
    assert "without texts" in said.out
    assert any("llm.token_count.total" in said_of(span) for span in otlp.spans)


def test_one_sample_is_found_by_its_first_characters(type_: Type, otlp: Otlp, made: Path) -> None:
    sample = one(made, "SELECT id FROM sample ORDER BY id LIMIT 1")
    assert type_(sample[:12], "--endpoint", otlp.url).code == 0
    (root,) = (span for span in otlp.spans if not span.parent_span_id)
    members = [span for span in children(otlp.spans, root) if span.name == "sample"]
    assert sample in [json.loads(said_of(span)["metadata"])["sample"] for span in members]


def test_a_share_and_a_limit_are_said_with_the_whole(type_: Type, otlp: Otlp) -> None:
    said = type_("--endpoint", otlp.url, "--limit", "2", "--json")
    assert (said.json["traces"], said.json["seeds"]) == (2, 6)
    assert "traces   2 of 6 seeds (33.3 %)" in said.out
    nothing = type_("--endpoint", otlp.url, "--share", "0.0000001")
    assert nothing.code == 1
    assert "6 seeds fit, and none of them" in nothing.err


def test_the_project_and_the_program_are_the_resource(type_: Type, otlp: Otlp) -> None:
    type_("--endpoint", otlp.url, "--limit", "1")
    type_("--endpoint", otlp.url, "--limit", "1", "--project", "比較")
    resources = [said_of(request.resource_spans[0].resource) for request in otlp.requests]
    assert [said["openinference.project.name"] for said in resources] == ["small", "比較"]
    assert resources[0]["service.name"] == "stillhouse"


def test_credentials_go_into_headers_and_nowhere_else(
    type_: Type, otlp: Otlp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "LANGFUSE_SECRET_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"Authorization=Bearer%20{KEY},x-other=1")
    said = type_("--json")
    assert said.code == 0
    assert {headers["authorization"] for headers in otlp.headers} == {f"Bearer {KEY}"}
    assert KEY.encode() not in b"".join(otlp.bodies)
    assert KEY not in said.out + said.err
    # A receiver that gives everything back.
    otlp.status, otlp.content_type = 500, "text/plain"
    otlp.body = f"Cannot store for Bearer {KEY}".encode()
    refused = type_()
    assert refused.code == 1
    assert "Cannot store for" in refused.err
    assert KEY not in refused.out + refused.err


def test_a_header_that_cannot_be_read_is_not_shown(
    type_: Type, otlp: Otlp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"Authorization: Bearer {KEY}")
    said = type_("--endpoint", otlp.url)
    assert said.code == 1
    assert "OTEL_EXPORTER_OTLP_HEADERS cannot be read." in said.err
    assert KEY not in said.out + said.err
    assert otlp.bodies == []


@pytest.mark.parametrize(
    ("status", "kind", "body", "part"),
    [
        (401, "text/plain", b"no", "does not take our credentials (401)"),
        (403, "text/plain", b"no", "OTEL_EXPORTER_OTLP_HEADERS is not set"),
        (404, "text/html", b"<h1>Not found</h1>", "The path is not that of an OTLP receiver"),
        (302, "text/html", b"", "does not take traces (302)"),
        (400, "text/plain", "読めません".encode(), "読めません"),
        (200, "text/html", b"<h1>Welcome</h1>", "is not an OTLP receiver"),
    ],
)
def test_what_a_receiver_refuses_is_said_with_a_way_out(
    type_: Type, otlp: Otlp, status: int, kind: str, body: bytes, part: str
) -> None:
    otlp.status, otlp.content_type, otlp.body = status, kind, body
    said = type_("--endpoint", otlp.url)
    assert said.code == 1
    assert part in said.err
    assert "Cause" in said.err and "Solution" in said.err
    assert "traces  " not in said.out
    assert len(otlp.bodies) == 1


def test_a_receiver_that_speaks_json_is_understood(type_: Type, otlp: Otlp) -> None:
    otlp.content_type, otlp.body = "application/json; charset=utf-8", b"{}"
    assert type_("--endpoint", otlp.url).code == 0
    otlp.body = b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}'
    said = type_("--endpoint", otlp.url, "--limit", "1", "--json")
    assert (said.code, said.json["rejected"], said.json["said"]) == (1, 2, "too old")


def test_a_partial_success_is_counted_said_and_an_error(type_: Type, otlp: Otlp) -> None:
    otlp.partly(3, "spans are too old")
    said = type_("--endpoint", otlp.url, "--json")
    assert said.code == 1
    assert said.json["rejected"] == 3 * len(otlp.bodies)
    assert "Cause     spans are too old" in said.err
    otlp.partly(0, "please upgrade")
    warned = type_("--endpoint", otlp.url)
    assert warned.code == 0
    assert "it said  please upgrade" in warned.out


def test_a_busy_receiver_is_asked_again(type_: Type, otlp: Otlp) -> None:
    otlp.first, otlp.further = [503, 429], {"Retry-After": "0"}
    said = type_("--endpoint", otlp.url, "--json")
    assert said.code == 0
    assert len(otlp.bodies) == 3 and len(set(otlp.bodies)) == 1
    assert said.err == ""


def test_nobody_at_the_endpoint_is_an_error(type_: Type) -> None:
    with receiving() as gone:
        url = gone.url
    said = type_("--endpoint", url)
    assert said.code == 1
    assert f"Nobody answers at {url}/v1/traces." in said.err
    assert "Connection refused" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "Nothing says where the traces should go"),
        (("--endpoint", "http://a", "--out", "t.jsonl"), "to a receiver or to a file"),
        (("0123", "--share", "0.1", "--out", "t.jsonl"), "--share were given"),
        (("--endpoint", f"http://me:{KEY}@a"), "--endpoint holds more than an address"),
        (("--endpoint", f"http://a/?key={KEY}"), "--endpoint holds more than an address"),
    ],
)
def test_what_contradicts_itself_is_refused(type_: Type, words: tuple[str, ...], part: str) -> None:
    said = type_(*words)
    assert said.code == 1
    assert part in said.err
    assert KEY not in said.err


def test_the_corpus_is_not_overwritten(type_: Type, made: Path) -> None:
    said = type_("--out", str(made))
    assert said.code == 1
    assert "It is the corpus itself" in said.err
    assert one(made, "SELECT count(*) FROM seed") == 6


def test_a_file_says_where_it_is(type_: Type, tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    said = type_("--out", str(path), "--json")
    assert (said.code, said.json["target"]) == (0, str(path))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(list(json.loads(line)) == ["resourceSpans"] for line in lines)


def test_without_the_extra_it_says_what_to_install(made: Path) -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None; from cli.main import main; "
        f"main(['export-traces', '--endpoint', 'http://127.0.0.1:1', '--db', {str(made)!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1
    assert "Traces cannot be exported here." in done.stderr
    assert "'.[telemetry]'" in done.stderr
