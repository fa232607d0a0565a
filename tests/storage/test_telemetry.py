"""Traces of a corpus: what tree, whose times, and nothing in them that was to stay here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import CorpusMaker
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from otlp import Otlp, children, receiving, said_of

from common.hashing import digest
from storage.database import Database
from storage.tables import AgentCall, Review
from storage.telemetry import exporting
from storage.telemetry.choosing import SeedChoice
from storage.telemetry.errors import ReceiverRefused, TelemetryRefused
from storage.telemetry.exporting import Exported, export_traces
from storage.telemetry.receiver import Receiver, endpoint_of
from storage.telemetry.trace_file import TraceFile

START = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
MARK = "Geheimnis 秘密 ひみつ"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "CERTIFICATE"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_TRACES_{name}", raising=False)


@pytest.fixture
def otlp() -> Iterator[Otlp]:
    """A receiver."""
    with receiving() as receiver:
        yield receiver


def send(database: Database, otlp: Otlp, choice: Any = None, **options: Any) -> Exported:
    """Exports to the receiver."""
    target = Receiver(endpoint_of(otlp.url))
    return export_traces(database, choice or SeedChoice(), target, **options)


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000


def failed_attempt(corpus: CorpusMaker, seed: str, sample: str | None, key: str, n: int) -> None:
    corpus.add(
        AgentCall, id=digest([key, n]), run_id=corpus.run, recipe=corpus.recipe, seed_id=seed,
        sample_id=sample, agent="response", prompt_name="response/prompt", prompt_version="1",
        prompt_hash="ab" * 16, teacher="big", model="tiny", endpoint="https://api.openai.com/v1",
        request_key=key, error_type="server_error", error_detail="The server answered 500.",
        latency_s=0.25, attempt=n, created_at=START + timedelta(seconds=n),
    )  # fmt: skip


def test_a_seed_is_one_tree_of_samples_agents_questions_and_verdicts(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", '{"variants": []}')
    first = corpus.sample(seed, status="rejected", reason="verification_failed")
    second = corpus.sample(seed, round=1, parent_id=first)
    send(database, otlp)
    spans = otlp.spans
    (root,) = (span for span in spans if not span.parent_span_id)

    def shape(span: Any) -> Any:
        below = [shape(child) for child in children(spans, span)]
        return (span.name, said_of(span)["openinference.span.kind"], *below)

    assert shape(root) == (
        "seed", "CHAIN",
        ("expansion", "AGENT", ("expansion/prompt", "LLM")),
        ("sample", "CHAIN", ("response", "AGENT", ("response/prompt", "LLM"))),
        ("sample", "CHAIN",
         ("response", "AGENT", ("response/prompt", "LLM")),
         ("selection", "AGENT", ("selection/prompt", "LLM"), ("selection scores", "EVALUATOR")),
         ("verification", "AGENT", ("verification/prompt", "LLM"), ("judge", "EVALUATOR")),
         ("duplicate", "GUARDRAIL")),
    )  # fmt: skip
    rounds = [span for span in children(spans, root) if span.name == "sample"]
    assert [json.loads(said_of(span)["metadata"])["sample"] for span in rounds] == [first, second]
    assert [link.span_id for link in rounds[1].links] == [rounds[0].span_id]
    assert len({span.span_id for span in spans}) == len(spans)


def test_a_question_carries_what_openinference_names(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    seed = corpus.seed()
    corpus.call(
        seed, None, "expansion", "答えは四十二です。", endpoint="https://api.openai.com/v1",
        reasoning_tokens=2,
    )  # fmt: skip
    corpus.change("UPDATE completion SET reasoning = 'まず考えます。'")
    send(database, otlp)
    (span,) = (span for span in otlp.spans if span.name == "expansion/prompt")
    said = said_of(span)
    assert {name: value for name, value in said.items() if name.startswith("llm.")} == {
        "llm.model_name": "tiny",
        "llm.provider": "openai",
        "llm.invocation_parameters": '{"temperature":0.7}',
        "llm.prompt_template.version": "1",
        "llm.token_count.prompt": 10,
        "llm.token_count.completion": 5,
        "llm.token_count.total": 15,
        "llm.token_count.completion_details.reasoning": 2,
        "llm.cost.total": 0.001,
        "llm.finish_reason": "stop",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": f"expansion: {seed} None",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "答えは四十二です。",
        "llm.output_messages.0.message.contents.0.message_content.type": "reasoning",
        "llm.output_messages.0.message.contents.0.message_content.text": "まず考えます。",
        "llm.output_messages.0.message.contents.1.message_content.type": "text",
        "llm.output_messages.0.message.contents.1.message_content.text": "答えは四十二です。",
    }
    assert said["prompt.id"] == "expansion/prompt"
    assert said["output.value"] == "答えは四十二です。"
    assert said["output.mime_type"] == "text/plain"
    assert json.loads(said["input.value"])["messages"][0]["role"] == "user"
    assert said["session.id"] == corpus.run
    assert json.loads(said["metadata"])["teacher"] == "big"


def test_what_is_unknown_is_not_there(database: Database, corpus: CorpusMaker, otlp: Otlp) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "x", cost_usd=None, completion_tokens=None)
    send(database, otlp)
    (span,) = (span for span in otlp.spans if span.name == "expansion/prompt")
    said = said_of(span)
    for name in ("llm.cost.total", "llm.token_count.total", "llm.provider"):
        assert name not in said
    assert said["llm.token_count.prompt"] == 10


def test_attempts_are_events_and_the_span_lasts_from_the_first_to_the_last(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    seed = corpus.seed()
    failed_attempt(corpus, seed, None, digest(["response", seed, None, "x", 0]), 1)
    answered = START + timedelta(seconds=3)
    corpus.call(seed, None, "response", "x", attempt=2, created_at=answered)
    send(database, otlp)
    (span,) = (span for span in otlp.spans if span.name == "response/prompt")
    (event,) = span.events
    assert (event.name, said_of(event)) == (
        "retry",
        {"attempt": 1, "error.type": "server_error", "error.message": "The server answered 500."},
    )
    assert event.time_unix_nano == nanoseconds(START + timedelta(seconds=1))
    assert span.start_time_unix_nano == nanoseconds(START + timedelta(seconds=0.75))
    assert span.end_time_unix_nano == nanoseconds(answered)
    assert span.status.code == Status.STATUS_CODE_OK
    assert json.loads(said_of(span)["metadata"])["attempts"] == 2


def test_what_holds_parts_lasts_as_long_as_they_do(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    corpus.sample(corpus.seed())
    send(database, otlp)
    spans = otlp.spans
    for span in spans:
        for child in children(spans, span):
            assert span.start_time_unix_nano <= child.start_time_unix_nano
            assert child.end_time_unix_nano <= span.end_time_unix_nano
            assert child.start_time_unix_nano <= child.end_time_unix_nano


def test_an_unanswered_question_is_an_error_all_the_way_up_to_its_sample(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    seed = corpus.seed()
    sample = corpus.sample(
        seed, response=None, status="failed", reason="server_error", detail="It gave up."
    )
    for n in (1, 2):
        failed_attempt(corpus, seed, sample, "f" * 32, n)
    send(database, otlp)
    wrong = [span for span in otlp.spans if span.status.code == Status.STATUS_CODE_ERROR]
    assert [span.name for span in wrong] == ["sample", "response", "response/prompt"]
    assert {span.status.message for span in wrong} == {"server_error"}
    assert [event.name for event in wrong[2].events] == ["retry", "exception"]
    assert said_of(wrong[2].events[1]) == {
        "exception.type": "server_error",
        "exception.message": "The server answered 500.",
    }
    assert said_of(wrong[0].events[0])["exception.message"] == "It gave up."
    (root,) = (span for span in otlp.spans if span.name == "seed")
    assert root.status.code == Status.STATUS_CODE_OK


def test_scores_verdicts_and_reviews_are_feedback_on_the_sample(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    sample = corpus.sample(corpus.seed())
    corpus.verdict(sample, "final_answer", "executable", "fail", {"given": "6", "wanted": "5"})
    corpus.add(
        Review, id="r1", sample_id=sample, decision="reject", reviewer="Aoi", note="違います",
        created_at=START,
    )  # fmt: skip
    send(database, otlp)
    (span,) = (span for span in otlp.spans if span.name == "sample")
    said = said_of(span)
    found = {
        value: {
            rest: said[f"{place}.evaluation.{rest}"]
            for rest in ("label", "score", "annotator_kind")
            if f"{place}.evaluation.{rest}" in said
        }
        for name, value in said.items()
        if name.endswith(".evaluation.name")
        for place in [name.removesuffix(".evaluation.name")]
    }
    assert found == {
        "duplicate": {"label": "pass", "annotator_kind": "CODE"},
        "judge": {"label": "pass", "annotator_kind": "LLM"},
        "final_answer": {"label": "fail", "annotator_kind": "CODE"},
        "informativeness": {"score": 5, "annotator_kind": "LLM"},
        "helpfulness": {"score": 7, "annotator_kind": "LLM"},
        "generalisation": {"score": 4, "annotator_kind": "LLM"},
    }
    assert {name: value for name, value in said.items() if name.startswith("annotations.")} == {
        "annotations.0.annotation.name": "review",
        "annotations.0.annotation.label": "reject",
        "annotations.0.annotation.annotator_kind": "HUMAN",
        "annotations.0.annotation.identifier": "r1",
        "annotations.0.annotation.explanation": "違います",
        "annotations.0.annotation.metadata": '{"reviewer":"Aoi"}',
    }
    (event,) = span.events
    assert (event.name, event.time_unix_nano) == ("review", nanoseconds(START))
    assert said_of(event)["note"] == "違います"
    (checked,) = (span for span in otlp.spans if span.name == "final_answer")
    assert json.loads(said_of(checked)["output.value"]) == {
        "label": "fail", "evidence": {"given": "6", "wanted": "5"},
    }  # fmt: skip


def marked(corpus: CorpusMaker) -> None:
    """A seed and samples with a mark in every text that a seed, teacher or person wrote."""
    seed = corpus.seed(MARK, input=MARK, system=MARK, reference=MARK, meta={"note": MARK})
    sample = corpus.sample(
        seed, instruction=MARK, original_instruction=MARK, input=MARK, system=MARK,
        reasoning=MARK, response=MARK, detail=MARK,
    )  # fmt: skip
    failed = corpus.sample(seed, 1, response=None, status="failed", reason="x", detail=MARK)
    for n in (1, 2):
        failed_attempt(corpus, seed, failed, "f" * 32, n)
        failed_attempt(corpus, seed, None, "e" * 32, 4 + n)
    evidence = {"evidence": MARK, MARK: [MARK]}
    corpus.verdict(sample, "final_answer", "executable", "fail", evidence)
    corpus.verdict(sample, "human", "human", "fail", {"reviewer": MARK, "note": MARK})
    corpus.add(
        Review, id="r1", sample_id=sample, decision="edit", reviewer=MARK, note=MARK,
        edited_instruction=MARK, edited_response=MARK,
    )  # fmt: skip
    request = json.dumps({"messages": [{"role": "user", "content": MARK}], "schema": "judge"})
    corpus.change(
        "UPDATE completion SET request = :request, content = :mark, reasoning = :mark, "
        "refusal = :mark",
        request=request,
        mark=MARK,
    )
    corpus.change("UPDATE agent_call SET error_detail = :mark", mark=MARK)
    corpus.change("UPDATE score SET rationale = :mark", mark=MARK)


def test_without_content_no_text_leaves(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    marked(corpus)
    send(database, otlp, content=False)
    (body,) = otlp.bodies
    # JSON may write it with escapes.
    forms = [MARK.encode(), json.dumps(MARK)[1:-1].encode(), "秘密".encode()]
    assert not any(form in body for form in forms)
    kinds = {said_of(span)["openinference.span.kind"] for span in otlp.spans}
    assert kinds == {"CHAIN", "AGENT", "LLM", "EVALUATOR", "GUARDRAIL"}
    assert any(said_of(span).get("llm.token_count.total") == 15 for span in otlp.spans)


def test_with_content_every_such_text_is_there_and_unchanged(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    marked(corpus)
    send(database, otlp)
    (body,) = otlp.bodies
    assert body.count(MARK.encode()) > 30


def test_hostile_text_arrives_as_it_is(database: Database, corpus: CorpusMaker, otlp: Otlp) -> None:
    hostile = "<script>alert(1)</script> \x1b[31m \u202eabc\u200b {{7*7}} \"'`; DROP TABLE seed"
    corpus.sample(corpus.seed(hostile), instruction=hostile, response=hostile)
    send(database, otlp)
    (sample,) = (span for span in otlp.spans if span.name == "sample")
    assert said_of(sample)["input.value"] == hostile
    assert said_of(sample)["output.value"] == hostile


def test_sending_again_sends_the_same(database: Database, corpus: CorpusMaker, otlp: Otlp) -> None:
    for _ in range(3):
        corpus.sample(corpus.seed())
    for _ in range(2):
        send(database, otlp)
    first, second = otlp.bodies
    assert first == second


def test_two_corpora_of_the_same_seeds_stay_apart(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    corpus.sample(corpus.seed())
    send(database, otlp)
    corpus.change("UPDATE run SET id = 'another'")
    send(database, otlp)
    half = len(otlp.spans) // 2
    one, other = otlp.spans[:half], otlp.spans[half:]
    assert not {span.trace_id for span in one} & {span.trace_id for span in other}
    assert not {span.span_id for span in one} & {span.span_id for span in other}


def test_a_large_export_is_sent_in_bounded_requests(
    database: Database, corpus: CorpusMaker, otlp: Otlp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        corpus.sample(corpus.seed(), response="語" * 4000)
    monkeypatch.setattr(exporting, "_MOST_SPANS", 9)
    monkeypatch.setattr(exporting, "_MOST_CHARACTERS", 20_000)
    done = send(database, otlp)
    sizes = [
        len([span for scope in resource.scope_spans for span in scope.spans])
        for request in otlp.requests
        for resource in request.resource_spans
    ]
    assert max(sizes) <= 9
    assert sum(sizes) == done.spans == len({span.span_id for span in otlp.spans})
    assert max(map(len, otlp.bodies)) < 100_000


def test_a_file_holds_the_same_spans_as_otlp_json_lines(
    database: Database, corpus: CorpusMaker, otlp: Otlp, tmp_path: Path
) -> None:
    for round_ in range(2):
        seed = corpus.seed(f"足し算 {round_}")
        corpus.sample(seed, round=1, parent_id=corpus.sample(seed, status="rejected", reason="x"))
    send(database, otlp)
    path = tmp_path / "new" / "traces.jsonl"
    export_traces(database, SeedChoice(), TraceFile(str(path), database))
    written = [
        span
        for line in path.read_text(encoding="utf-8").splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    for ours, sent in zip(written, otlp.spans, strict=True):
        assert ours["traceId"] == sent.trace_id.hex()
        assert ours["spanId"] == sent.span_id.hex()
        assert ours.get("parentSpanId", "") == sent.parent_span_id.hex()
        assert ours["startTimeUnixNano"] == str(sent.start_time_unix_nano)
        assert ours["kind"] == sent.kind == 1
        assert [link["spanId"] for link in ours.get("links", [])] == [
            link.span_id.hex() for link in sent.links
        ]
        assert len(ours["attributes"]) == len(sent.attributes)
    assert list(path.parent.iterdir()) == [path]


def test_what_keeps_a_request_from_being_sent_is_said(
    database: Database, corpus: CorpusMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.sample(corpus.seed())
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/bundle.pem")
    with pytest.raises(ReceiverRefused) as refused:
        export_traces(database, SeedChoice(), Receiver(endpoint_of("https://127.0.0.1:9")))
    assert "OSError" in str(refused.value.cause)
    assert "/no/such/bundle.pem" in str(refused.value.cause)


def test_a_request_that_cannot_be_made_is_said(
    otlp: Otlp, database: Database, corpus: CorpusMaker
) -> None:
    corpus.seed()
    receiver = Receiver(endpoint_of(otlp.url))
    unencodable: Any = [object()]
    with pytest.raises(ReceiverRefused) as refused:
        receiver.take(unencodable)
    receiver.close()
    assert "AttributeError" in str(refused.value.cause)
    assert otlp.bodies == []


def test_a_seed_at_work_is_refused_by_its_identifier(
    database: Database, corpus: CorpusMaker, otlp: Otlp
) -> None:
    seed = corpus.seed(status="pending", reason=None)
    with pytest.raises(TelemetryRefused, match="still at work"):
        send(database, otlp, seed)
    assert otlp.bodies == []
    corpus.change("UPDATE seed SET status = 'done', reason = 'expanded'")
    assert send(database, otlp, seed).traces == 1


def test_a_file_that_fails_half_way_leaves_the_old_one(
    database: Database, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed())
    path = tmp_path / "traces.jsonl"
    path.write_text("old")

    def stop(done: int, all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_traces(database, SeedChoice(), TraceFile(str(path), database), progress=stop)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir() if "traces" in file.name] == ["traces.jsonl"]
