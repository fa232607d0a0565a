"""`stillhouse train plan`: tables for people with units, one JSON object for programs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from cli.show import console
from cli.train_plan import plan_command
from common.hashing import digest
from storage.export import EXPORT_VERSION
from training.errors import CorpusRefused
from training.plan.gpus import GPUS, PlanRefused, parse_prices
from training.plan.hours import Work, hours_on
from training.plan.plan import make_plan
from training.plan.tokens import TokenOptions, estimate_tokens, text_tokens
from training.recipe import TrainRecipe, load_train_recipe

ROOT = Path(__file__).parents[3]
SEVEN = ROOT / "recipes/distilqwen2.5/7b.yaml"
CORPUS = TokenOptions(samples=100_000, tokens_per_sample=1_000, response_share=0.7)


@pytest.fixture(autouse=True)
def _no_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def _said(capsys: pytest.CaptureFixture[str], **given: Any) -> str:
    options = {
        "recipe": str(SEVEN),
        "set_": [],
        "samples": 100_000,
        "tokens_per_sample": 1_000,
        "response_share": 0.7,
        "mfu": None,
        "prices": [],
        "json": False,
    }
    assert plan_command(**(options | given)) == 0
    return capsys.readouterr().out


def test_the_last_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(_said(capsys, json=True, prices=["A800=2"]).splitlines()[-1])
    assert found["student"]["parameters"] == 7_615_616_512
    assert set(found["memory"]["bytes_by_zero"]) == {"0", "1", "2", "3"}
    assert set(found["memory"]["fits"]) == {gpu.key for gpu in GPUS}
    assert [each["vocabulary"]["verdict"] for each in found["teachers"]] == ["same"] * 3
    assert found["assumed_mfu"] == [0.35, 0.45]
    assert found["corpus"]["tokens"] == 10**8
    capture, sft, kd = found["works"]
    assert (capture["kind"], sft["kind"], kd["kind"]) == ("capture", "sft", "kd")
    assert sft["steps"] == 3 * 1_532 and capture["steps"] is None
    assert sft["on"]["A800"]["usd"] == [2 * each for each in sft["on"]["A800"]["gpu_hours"]]
    assert sft["on"]["H100"]["usd"] is None


def test_tables_say_their_units_and_assumptions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 80)
    said = _said(capsys)
    for words in ("GiB per GPU, 8 GPUs", "PFLOP", "hours", "GPU-hours in all", "parameters"):
        assert words in said
    assert "35% to 45%" in said and "not measured" in said
    assert "price not given" in said and "US dollars per GPU-hour" in said
    assert "…" not in said


def test_a_price_gives_a_cost_and_only_for_its_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    line = next(x for x in _said(capsys, prices=["H200=3.5"]).splitlines() if "US dollars in" in x)
    assert line.count("price not given") == 2 and line.count("$") == 2


def test_without_a_corpus_it_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    said = _said(capsys, samples=None, tokens_per_sample=None, response_share=None)
    assert "tokens: unknown" in said and "--tokens-per-sample" in said
    assert "GiB per GPU, 8 GPUs" in said and "GPU-hours" not in said


def test_what_does_not_fit_names_the_setting_to_turn(capsys: pytest.CaptureFixture[str]) -> None:
    said = _said(capsys, set_=["engine.zero=0", "teachers.72b.tensor_parallel=1"])
    assert "A800 80GB (74.5 GiB): does not fit; --set engine.zero=2 would." in said
    assert "teacher 72b does not fit A800 80GB, H100 80GB SXM, H200 141GB" in said
    assert "--set teachers.72b.tensor_parallel=4" in said


def test_a_plan_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from cli.train_plan import plan_command; "
        f"plan_command({str(SEVEN)!r}, [], 1000, 100, 0.5, None, [], True); "
        "sys.exit(bool({'torch', 'transformers', 'vllm', 'deepspeed'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_hours_are_flops_over_the_assumed_share_of_the_peak() -> None:
    work = Work("sft", "sft", 1, 1, 1, flops=312e12 * 3600, gpus=4, steps=1)
    hours = hours_on(work, GPUS[0], (0.5, 0.25), price=2.0)
    assert hours.gpu_hours == (2.0, 4.0)
    assert hours.hours == (0.5, 1.0)
    assert hours.usd == (4.0, 8.0)


def test_a_stage_counts_its_own_samples_and_no_held_out_ones() -> None:
    recipe = load_train_recipe(SEVEN, ["corpus.validation=0.5"])
    _, sft, _ = make_plan(recipe, CORPUS).works
    assert sft.samples == 3 * 50_000
    stages = [stage.model_copy(update={"max_steps": 10}) for stage in recipe.stages]
    cut = make_plan(recipe.model_copy(update={"stages": stages}), CORPUS).works[1]
    assert (cut.steps, cut.samples) == (10, 640)


def test_a_hostfile_says_how_many_gpus_there_are(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# comment slots=9\none slots=8\ntwo slots=4\n", encoding="utf-8")
    assert make_plan(load_train_recipe(SEVEN, [f"engine.hostfile={hosts}"])).ranks == 12
    with pytest.raises(PlanRefused, match="cannot be read"):
        make_plan(load_train_recipe(SEVEN, [f"engine.hostfile={tmp_path / 'none'}"]))


@pytest.mark.parametrize("price", ["A800", "B200=1", "A800=cheap", "A800=-1", "A800=inf"])
def test_a_price_that_is_none_is_refused(price: str) -> None:
    with pytest.raises(PlanRefused, match="is no price"):
        parse_prices([price])


@pytest.mark.parametrize(
    "options", [TokenOptions(samples=0), TokenOptions(response_share=1.5)], ids=str
)
def test_options_that_cannot_be_are_refused(options: TokenOptions) -> None:
    with pytest.raises(PlanRefused, match="cannot be"):
        make_plan(load_train_recipe(SEVEN), options)


@pytest.mark.parametrize("mfu", [0.0, 1.1])
def test_a_share_of_the_peak_that_cannot_be_is_refused(mfu: float) -> None:
    with pytest.raises(PlanRefused, match="--mfu"):
        make_plan(load_train_recipe(SEVEN), mfu=mfu)


def _exported(folder: Path, answers: list[str], *overrides: str) -> TrainRecipe:
    lines = [
        orjson.dumps(
            {
                "messages": [
                    {"role": "user", "content": "a" * 100},
                    {"role": "assistant", "content": answer},
                ],
                "meta": {"id": f"{n}", "family_id": f"{n}", "recipe": "r", "status": "accepted"},
            }
        )
        for n, answer in enumerate(answers)
    ]
    raw = b"".join(line + b"\n" for line in lines)
    (folder / "corpus.jsonl").write_bytes(raw)
    manifest: dict[str, Any] = {
        "file": "corpus.jsonl",
        "format": "messages",
        "reasoning": "drop",
        "filters": {
            "recipe": None,
            "status": ["accepted"],
            "allow_simulated": False,
            "terms": "permitted",
        },
        "rows": len(lines),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "export_version": EXPORT_VERSION,
    }
    path = folder / "corpus.jsonl.manifest.json"
    path.write_bytes(orjson.dumps(manifest | {"export": digest(manifest)}))
    return load_train_recipe(SEVEN, [f"corpus.manifest={path}", *overrides])


def test_an_exported_corpus_is_estimated_from_its_characters(tmp_path: Path) -> None:
    found = estimate_tokens(_exported(tmp_path, ["b" * 300, "山" * 300]), TokenOptions())
    assert found is not None
    assert found.samples == 2
    assert found.tokens == pytest.approx(2 * (30 + 5) + (90 + 5) + (180 + 5))
    assert found.rows == pytest.approx(95 + 185)
    assert "estimate" in found.rule


def test_a_sample_longer_than_the_context_is_left_out_and_counted(tmp_path: Path) -> None:
    recipe = _exported(tmp_path, ["b" * 300, "b" * 9_000], "data.context=1000")
    found = estimate_tokens(recipe, TokenOptions())
    assert found is not None and (found.samples, found.left_out) == (1, 1)


def test_a_sample_that_is_truncated_counts_as_long_as_the_context(tmp_path: Path) -> None:
    recipe = _exported(tmp_path, ["b" * 9_000], "data.context=1000", "data.too_long=truncate")
    found = estimate_tokens(recipe, TokenOptions())
    assert found is not None
    assert found.tokens_per_sample == 1_000
    assert found.rows == pytest.approx(1_000 - 35)


def test_a_manifest_gives_the_samples_that_the_options_leave_open(tmp_path: Path) -> None:
    recipe = _exported(tmp_path, ["b"] * 7)
    found = estimate_tokens(recipe, TokenOptions(tokens_per_sample=50, response_share=0.5))
    assert found is not None and (found.samples, found.tokens) == (7, 350)


def test_a_broken_manifest_is_refused(tmp_path: Path) -> None:
    recipe = _exported(tmp_path, ["b"])
    Path(recipe.corpus.manifest).write_text("{}", encoding="utf-8")
    with pytest.raises(CorpusRefused):
        make_plan(recipe)


def test_scripts_have_their_own_tokens_per_character() -> None:
    assert text_tokens("word") < text_tokens("漢字漢字") < text_tokens("ひらがな")
