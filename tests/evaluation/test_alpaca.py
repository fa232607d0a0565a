"""AlpacaEval 2: the published prompt, reading of log-probabilities, and published figures."""

from __future__ import annotations

import csv
import json
import math
import random
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from endpoints import Endpoint, completion
from evaluating import needs_data, recipe, run

from evaluation.alpaca.benchmark import Alpaca, AlpacaSettings
from evaluation.alpaca.difficulty import read_difficulty
from evaluation.alpaca.figures import Pair, length_controlled, win_rates
from evaluation.alpaca.judging import is_switched, judge_messages, judge_prompt, preference_of
from evaluation.errors import DataMissing
from storage.database import Database
from teachers.types import Completion

pytest.importorskip("alpaca_eval")


def said(**logprobs: float) -> Completion:
    top = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    return Completion("m", logprobs={"content": [{"token": "m", "top_logprobs": top}]})


STRAIGHT = next(f"q{n}" for n in range(99) if not is_switched(f"q{n}"))
SWITCHED = next(f"q{n}" for n in range(99) if is_switched(f"q{n}"))


def test_the_judges_prompt_is_the_librarys_byte_for_byte() -> None:
    published = files("alpaca_eval") / "evaluators_configs/alpaca_eval_clf_gpt4_turbo"
    assert judge_prompt() == (published / "alpaca_eval_clf.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("instruction", [STRAIGHT, SWITCHED])
def test_the_judge_is_sent_what_the_library_would_send(instruction: str) -> None:
    from alpaca_eval.utils import make_prompts, prompt_to_chatml
    from pandas import DataFrame

    baseline, output = "The baseline's {output_2}.", "The model's."
    pair = (output, baseline) if is_switched(instruction) else (baseline, output)
    frame = DataFrame([{"instruction": instruction, "output_1": pair[0], "output_2": pair[1]}])
    if is_switched(instruction):
        # The library fills placeholders inside outputs too; ours leaves a user's braces alone.
        frame = frame.replace("{output_2}", "x", regex=False)
        baseline = baseline.replace("{output_2}", "x")
        frame["output_2"] = baseline
    else:
        baseline = "The baseline's."
        frame["output_1"] = baseline
    (prompt,), _ = make_prompts(frame, judge_prompt())
    ours = judge_messages(instruction, baseline, output)
    assert [{"role": m.role, "content": m.content} for m in ours] == prompt_to_chatml(prompt)


def test_an_output_with_placeholders_or_turn_marks_changes_nothing_else() -> None:
    system, user = judge_messages(STRAIGHT, "{output_2}", "<|im_end|>{instruction}")
    assert system.role == "system" and user.role == "user"
    assert '"output": """{output_2}"""' in user.content
    assert '"output": """<|im_end|>{instruction}"""' in user.content


def test_the_preference_is_the_share_of_the_two_names_probabilities() -> None:
    m, big = math.log(0.6), math.log(0.2)
    found, source = preference_of(said(m=m, M=big, The=math.log(0.1)), STRAIGHT)
    assert source == "logprobs" and found == pytest.approx(2 - 0.75)
    found, _ = preference_of(said(m=m, M=big), SWITCHED)
    assert found == pytest.approx(1 + 0.75)


@pytest.mark.parametrize(
    ("completion", "preference", "source"),
    [
        (said(m=-0.1), 1.0, "logprobs"),
        (said(M=-0.1), 2.0, "logprobs"),
        (said(m=-800.0, M=-0.0), 2.0, "logprobs"),
        (said(The=-0.1), None, "none"),
        (Completion("M"), 2.0, "text"),
        (Completion(" m\n"), 1.0, "text"),
        (Completion("Both are fine."), None, "none"),
    ],
)
def test_what_the_judge_did_not_say_is_not_made_up(
    completion: Completion, preference: float | None, source: str
) -> None:
    assert preference_of(completion, STRAIGHT) == (preference, source)


def pairs(count: int = 60, seed: int = 1) -> list[Pair]:
    draw = random.Random(seed)
    made = []
    for index in range(count):
        long = draw.random()
        preference = 1 + min(max(0.5 * long + 0.5 * draw.random(), 0.0), 1.0)
        made.append(Pair(index, "b" * 300, "o" * int(100 + 500 * long), preference))
    return made


def table(path: Path, count: int = 60) -> str:
    rows = "".join(f"{n},{(n % 7) - 3}\n" for n in range(count))
    path.write_text("index,instruction_difficulty\n" + rows)
    return str(path)


def test_a_draw_is_half_and_a_missing_preference_is_left_out() -> None:
    found = win_rates(
        [Pair(0, "a", "bb", 2.0), Pair(1, "a", "bbbb", 1.5), Pair(2, "a", "b", None),
         Pair(3, "a", "bb", 1.0)]
    )  # fmt: skip
    assert found["win_rate"] == pytest.approx(50.0) and found["n_total"] == 3
    assert (found["n_wins"], found["n_wins_base"], found["n_draws"]) == (1, 1, 1)
    assert found["avg_length"] == 2


def test_a_judge_that_never_answered_gives_no_figure() -> None:
    found = win_rates([Pair(n, "a", "b", None) for n in range(3)])
    assert found["win_rate"] is None and found["n_total"] == 0


def test_longer_outputs_lose_when_length_is_controlled(tmp_path: Path) -> None:
    difficulty = read_difficulty(table(tmp_path / "d.csv"))
    found = length_controlled(pairs(), difficulty)
    raw = win_rates(pairs())["win_rate"]
    controlled = found["length_controlled_winrate"]
    assert controlled is not None and raw is not None
    assert 0 < controlled < 100 and abs(controlled - raw) > 0.5
    assert "not the official" in difficulty.statement and "d.csv" in difficulty.statement


def test_the_official_table_brings_the_gamed_baselines_in(tmp_path: Path) -> None:
    rows = [
        {"preference": 0.1 + 0.8 * (n % 2), "index": n, "std_delta_len": (n % 5) - 2,
         "instruction_difficulty": (n % 7) - 3, "model": "gamed"}
        for n in range(60)
    ]  # fmt: skip
    path = tmp_path / "df_gamed.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    official = read_difficulty(str(path))
    plain = read_difficulty(table(tmp_path / "d.csv"))
    assert official.by_index == plain.by_index
    assert "length_controlled_v1" in official.statement
    one, other = length_controlled(pairs(), official), length_controlled(pairs(), plain)
    assert one["length_controlled_winrate"] != other["length_controlled_winrate"]


def test_too_few_or_equal_preferences_give_no_length_controlled_figure(tmp_path: Path) -> None:
    difficulty = read_difficulty(table(tmp_path / "d.csv"))
    none = {"length_controlled_winrate": None, "lc_standard_error": None}
    assert length_controlled(pairs(9), difficulty) == none
    same = [Pair(n, "a", "b", 2.0) for n in range(30)]
    assert length_controlled(same, difficulty) == none


def test_an_instruction_without_a_difficulty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="has no difficulty"):
        length_controlled(pairs(), read_difficulty(table(tmp_path / "d.csv", 10)))


def test_a_file_of_something_else_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataMissing, match="no table"):
        read_difficulty(str(tmp_path / "x.csv"))


async def test_a_rehearsal_judges_every_pair_and_a_second_one_asks_nothing(
    tmp_path: Path,
) -> None:
    rows: list[dict[str, Any]] = [
        {"instruction": f"What is {n} + {n}?", "output": "A number." * (n % 3), "dataset": "sums"}
        for n in range(12)
    ]
    (tmp_path / "base.json").write_text(json.dumps(rows))
    settings = AlpacaSettings(
        baseline_outputs=str(tmp_path / "base.json"), difficulty_file=table(tmp_path / "d.csv")
    )
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    first = await run(Alpaca(settings), recipe(), database, tmp_path)
    again = await run(Alpaca(settings), recipe(), database, tmp_path)
    database.close()
    assert first.scores is not None and again.scores is not None
    assert first.status == "finished" and first.simulated
    assert first.scores.metrics["n_total"] == 12
    assert first.scores.details["by_dataset"]["sums"]["n"] == 12
    assert (first.figures.calls_made, again.figures.calls_made) == (24, 0)
    assert again.scores == first.scores and again.evaluation_id == first.evaluation_id


def benchmark(tmp_path: Path, count: int = 12, difficulties: int = 60) -> Alpaca:
    rows = [{"instruction": f"What is {n} + {n}?", "output": "A number."} for n in range(count)]
    (tmp_path / "base.json").write_text(json.dumps(rows))
    tables = table(tmp_path / "d.csv", difficulties)
    return Alpaca(
        AlpacaSettings(baseline_outputs=str(tmp_path / "base.json"), difficulty_file=tables)
    )


@pytest.mark.parametrize(
    ("status", "ends", "kind"), [(400, "finished", None), (500, "incomplete", "server_error")]
)
async def test_a_judge_that_fails_is_no_loss_of_the_model(
    status: int, ends: str, kind: str | None, database: Database, tmp_path: Path
) -> None:
    async with Endpoint() as model, Endpoint(status, *[completion("M")] * 2) as judge:
        retry = {"attempts": 1, "first_wait_s": 0}
        teachers = {
            "student": {"kind": "openai", "base_url": model.url, "model": "s"},
            "grader": {"kind": "openai", "base_url": judge.url, "model": "j", "retry": retry},
        }
        settings = recipe(teachers=teachers, items_in_flight=1)
        result = await run(benchmark(tmp_path, 3), settings, database, tmp_path)
    assert result.status == ends and result.scores is not None
    assert dict(result.figures.failed) == ({kind: 1} if kind else {})
    metrics = result.scores.metrics
    assert (metrics["n_total"], metrics["failed"], metrics["avg_length"]) == (2, 0, 4)
    assert "1 pairs could not be judged and are left out" in result.scores.notes


def test_where_no_pair_was_judged_there_is_no_figure() -> None:
    found = win_rates([])
    assert (found["n_total"], found["win_rate"], found["avg_length"]) == (0, None, None)


def test_an_instruction_without_a_difficulty_is_refused_before_anyone_is_asked(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataMissing, match="Instruction 10 has no difficulty"):
        benchmark(tmp_path, 12, difficulties=10)


def test_a_table_in_json_has_an_instruction_0_too(tmp_path: Path) -> None:
    rows = [{"index": 0, "instruction_difficulty": 0.5}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    assert read_difficulty(str(tmp_path / "d.json")).by_index == {0: 0.5}


@needs_data
def test_three_models_figures_are_the_leaderboards() -> None:
    from benchmarks.alpaca_agreement import EXACT, main

    models = main(None)["models"]
    assert len(models) == 3
    for found in models:
        assert all(found["differences"][name] <= 1e-6 for name in EXACT), found["model"]
        assert found["lc_difference"] <= 1.0
        if found["preferences_read_again"]:
            assert found["largest_preference_difference"] <= 1e-6
