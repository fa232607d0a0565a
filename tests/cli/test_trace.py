"""`stillhouse trace`: the whole story is told, to be read by a person, whatever the text holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import CorpusMaker
from rich.cells import cell_len

from cli.trace import trace_command
from common.hashing import digest
from storage.errors import NotFound
from storage.tables import AgentCall, Review, utcnow

LONG = "\n".join(f"Line {n} of a long answer." for n in range(60))


@pytest.fixture
def trace(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """What `trace ID` prints."""
    monkeypatch.setenv("COLUMNS", "100")

    def told(identifier: str, full: bool = False, json: bool = False) -> str:
        assert trace_command(identifier, database_url, full, json) == 0
        return capsys.readouterr().out

    return told


def failed_attempt(corpus: CorpusMaker, seed: str, sample: str, key: str) -> None:
    corpus.add(
        AgentCall, id=digest([key, "failed"]), run_id=corpus.run, recipe=corpus.recipe,
        seed_id=seed, sample_id=sample, agent="response", prompt_name="response/prompt",
        prompt_version="1", prompt_hash="ab" * 16, teacher="big", model="tiny", endpoint="e",
        request_key=key, error_type="server_error", error_detail="The server answered 500.",
        latency_s=0.25, attempt=1,
    )  # fmt: skip


def test_a_samples_story_has_every_part(corpus: CorpusMaker, trace: Any) -> None:
    seed = corpus.seed(licence="cc-by-4.0")
    first = corpus.sample(
        seed, status="rejected", reason="verification_failed", detail="2 + 3 is 5.", response="6"
    )
    second = corpus.sample(
        seed, round=1, parent_id=first, original_instruction="Add 2 and 3.",
        reasoning="2 and 3 make 5.",
    )  # fmt: skip
    told = trace(second)
    for part in (
        f"Sample {second}  ACCEPTED verified",
        "category    math, language en",
        f"seed        {seed} of recipe tests",
        "seeds.jsonl, row 1 (shape alpaca), licence cc-by-4.0",
        "terms       big (tiny): may train models; apache-2.0",
        "took        4 calls, 0 more answered from the corpus, 0 failed attempts; 40 tokens asked",
        "cost $0.0040",
        f"{first[:12]}  rejected verification_failed",
        f"└─ round 1  {second[:12]}  accepted verified  ◀ this one",
        "ended       rejected: verification_failed — 2 + 3 is 5.",
        "instruction Add 2 and 3.",
        "reworded    Add 2 and 3, please. (0)",
        "▸ response  response/prompt@1(abababab)",
        "teacher  big (tiny)",
        "with     temperature 0.7",
        "answered after 0.50 s; 10 tokens asked, 5 answered; cost $0.0010, finish stop",
        "│ 6",
        "scores      informativeness 5, helpfulness 7, generalisation 4: It teaches.",
        "verdict     pass  duplicate (gate)",
        "verdict     pass  judge (judge)  correct: yes; consistent: yes; evidence: 2 + 3 = 5.",
    ):
        assert part in told, part
    assert told.index(f", round 0  {first[:12]}") < told.index(f", round 1  {second[:12]}")


def test_a_story_is_found_by_its_first_characters(corpus: CorpusMaker, trace: Any) -> None:
    sample = corpus.sample(corpus.seed())
    assert trace(sample[:10]) == trace(sample)


def test_a_seeds_story_tells_all_its_candidates(corpus: CorpusMaker, trace: Any) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", '{"variants": []}')
    samples = [corpus.sample(seed), corpus.sample(seed, 1)]
    told = trace(seed)
    assert f"Seed {seed}  DONE expanded" in told
    assert "Before there was a candidate" in told
    for sample in samples:
        assert f"round 0  {sample[:12]}" in told
    assert "Variant 1, round 0" in told


def test_a_samples_story_leaves_its_siblings_steps_out(corpus: CorpusMaker, trace: Any) -> None:
    seed = corpus.seed()
    corpus.sample(seed, response="mine")
    other = corpus.sample(seed, 1, response="theirs")
    told = trace(other)
    assert "│ theirs" in told
    assert "│ mine" not in told


def test_failed_attempts_stand_before_the_answer_with_their_error(
    corpus: CorpusMaker, trace: Any
) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed, response=None, status="pending", reason=None)
    key = digest(["response", seed, sample, "5", 0])
    failed_attempt(corpus, seed, sample, key)
    corpus.call(seed, sample, "response", "5", attempt=2)
    told = trace(sample)
    assert told.count("▸ response") == 1
    failure = "attempt 1 failed after 0.25 s, server_error: The server answered 500."
    assert told.index(failure) < told.index("answered after 0.50 s, attempt 2")


def test_a_question_that_was_never_answered_is_told_as_not_kept(
    corpus: CorpusMaker, trace: Any
) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed, response=None, status="failed", reason="transport")
    failed_attempt(corpus, seed, sample, "f" * 32)
    told = trace(sample)
    assert "question not kept, since no attempt at it was answered" in told
    assert "FAILED transport" in told


def test_a_cached_answer_is_told_as_such(corpus: CorpusMaker, trace: Any) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "{}", cached=True)
    told = trace(seed)
    assert "from the corpus, which held this answer already; nothing was sent" in told
    assert "0 calls, 1 more answered from the corpus" in told


def test_an_unknown_price_is_told_as_unknown(corpus: CorpusMaker, trace: Any) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "{}", cost_usd=None)
    assert trace(seed).count("cost unknown") == 2


def test_a_simulated_story_says_so_at_once(corpus: CorpusMaker, trace: Any) -> None:
    sample = corpus.sample(corpus.seed(), simulated=True, allows_training="false")
    told = trace(sample)
    assert "SIMULATED" in told.splitlines()[1]
    assert "(tiny, SIMULATED)" in told
    assert "must not train models" in told


def test_a_persons_decision_is_told_with_their_edits(corpus: CorpusMaker, trace: Any) -> None:
    sample = corpus.sample(corpus.seed(), status="held", reason="human_review")
    corpus.add(
        Review, id="r1", sample_id=sample, decision="accept", reviewer="Aoi", note="良い",
        edited_response="Five.",
    )  # fmt: skip
    told = trace(sample)
    assert "review      accept by Aoi (waits for the next run): 良い" in told
    assert "│ Five." in told
    corpus.add(
        Review, id="r2", sample_id=sample, decision="reject", reviewer="Bo", applied_at=utcnow()
    )
    assert "reject by Bo (carried out)" in trace(sample)


def test_long_words_are_shortened_unless_everything_is_wanted(
    corpus: CorpusMaker, trace: Any
) -> None:
    sample = corpus.sample(corpus.seed(), response=LONG)
    short = trace(sample)
    assert "… 30 more lines: --full" in short
    assert "Line 59" not in short
    whole = trace(sample, full=True)
    assert "Line 59" in whole
    assert "--full" not in whole


def test_earlier_turns_are_told_of_and_shown_in_full(corpus: CorpusMaker, trace: Any) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "{}")
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First."},
        {"role": "assistant", "content": "Bad."},
        {"role": "user", "content": "That was no JSON."},
    ]
    corpus.change(
        "UPDATE completion SET request = :request",
        request=json.dumps({"messages": turns, "schema": "expansion"}),
    )
    short = trace(seed)
    assert "question (after: system, user, assistant)" in short
    assert "│ That was no JSON." in short and "│ Bad." not in short
    assert "a structured answer (expansion)" in short
    assert "│ Bad." in trace(seed, full=True)


@pytest.mark.parametrize("columns", ["60", "100"])
def test_no_line_is_wider_than_the_terminal(
    corpus: CorpusMaker, trace: Any, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    words = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 5
    sample = corpus.sample(
        corpus.seed(words, language="ja"), instruction=words, response=words, language="ja"
    )
    lines = trace(sample).splitlines()
    assert max(cell_len(line) for line in lines) <= int(columns)
    assert any(cell_len(line) >= int(columns) - 3 and "猫" in line for line in lines)


def test_hostile_text_is_shown_and_does_nothing(corpus: CorpusMaker, trace: Any) -> None:
    hostile = "[bold red]x[/bold red] \x1b[31mred\x1b[0m \u202eabc [/nonsense]"
    sample = corpus.sample(
        corpus.seed(hostile), instruction=hostile, response=hostile, detail=hostile
    )
    told = trace(sample, full=True)
    assert told.count("[bold red]x[/bold red] red abc [/nonsense]") >= 4
    assert "\x1b" not in told and "\u202e" not in told


def test_json_is_one_object_with_the_whole_story(corpus: CorpusMaker, trace: Any) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed, response=LONG)
    output = trace(sample, json=True)
    assert output.count("\n") == 1
    told = json.loads(output)
    assert (told["kind"], told["id"], told["seed"]["id"]) == ("sample", sample, seed)
    assert told["samples"][0]["calls"][0]["answer"]["content"] == LONG
    assert told["samples"][0]["score"]["helpfulness"] == 7
    assert told["spending"]["calls_made"] == 3


def test_what_nobody_knows_is_an_error(corpus: CorpusMaker, database_url: str) -> None:
    corpus.sample(corpus.seed())
    with pytest.raises(NotFound):
        trace_command("0123456789abcdef", database_url, False, False)
