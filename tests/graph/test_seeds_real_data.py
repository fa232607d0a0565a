"""The four real seed files, and the other public files of the data folder, read to the last row."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.paths import CHECKOUT
from graph.seeds import SeedOptions, SeedRecord, SeedReport, read_seeds

DATA = Path(os.environ.get("STILLHOUSE_DATA") or CHECKOUT.parent / "shared" / "data")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"no data folder at {DATA}; set STILLHOUSE_DATA to one"
    ),
]


def read(name: str, **options: object) -> tuple[list[SeedRecord], SeedReport]:
    report = SeedReport()
    items = read_seeds(name, SeedOptions.model_validate(options), folder=DATA)
    return list(report.watch(items)), report


@pytest.mark.parametrize(
    ("name", "options", "shape", "count", "leftover"),
    [
        ("seeds/self_instruct_175.jsonl", {}, "self_instruct", 175, {}),
        ("seeds/gsm8k_alpaca_1500.json", {}, "alpaca", 1500, {}),
        ("seeds/gsm8k_alpaca_1500.json", {"limit": 300}, "alpaca", 300, {}),
        ("seeds/lccd_toy.json", {}, "lccd", 1000, {"unused_turns": 1887}),
        ("seeds/lccd_toy.json", {"split": "valid"}, "lccd", 200, {"unused_turns": 417}),
        ("seeds/sharegpt_dummy.json", {}, "sharegpt", 100, {"unused_turns": 200}),
        ("eval/ifeval/en_input_data.jsonl", {}, "plain", 541, {}),
        ("eval/ifeval/ja_input_data.jsonl", {}, "plain", 172, {}),
        ("eval/alpaca_eval/gemma-2b-it/model_outputs.json.gz", {}, "alpaca", 805, {}),
        ("eval/sql/instruct_basic_sqlite.csv", {}, "plain", 40, {}),
    ],
)
def test_a_real_file_gives_every_row_as_a_seed(
    name: str, options: dict[str, object], shape: str, count: int, leftover: dict[str, int]
) -> None:
    seeds, report = read(name, **options)
    assert len(seeds) == count
    assert report.bad == 0
    assert {seed.shape for seed in seeds} == {shape}
    assert [seed.row for seed in seeds] == list(range(1, count + 1))
    assert +report.sources[name].leftovers == leftover
    assert all(seed.instruction.strip() for seed in seeds)


def test_lccd_turns_read_as_written_chinese() -> None:
    seeds, _ = read("seeds/lccd_toy.json", limit=2)
    assert seeds[0].instruction == "你去那儿竟然不喊我生气了，快点给我道歉"
    assert seeds[0].reference == "道歉！！再有时间找你去"
    assert seeds[1].instruction.startswith("我用SEED.24小时签到一次可以用4小时，")


def test_ifeval_keeps_the_constraints_that_its_checks_need() -> None:
    seeds, _ = read("eval/ifeval/en_input_data.jsonl", limit=1)
    meta = seeds[0].meta or {}
    assert meta["key"] == 1000
    assert meta["instruction_id_list"][0] == "en:punctuation:no_comma"
    assert len(meta["kwargs"]) == 3


def test_the_one_row_of_real_csv_with_unescaped_quotes_is_reported_not_garbled() -> None:
    options = {"fields": {"reference": "query"}}
    seeds, report = read("eval/sql/questions_gen_sqlite.csv", **options)
    assert (len(seeds), report.bad) == (209, 1)
    [bad] = report.sources["eval/sql/questions_gen_sqlite.csv"].bad_rows
    assert (bad.row, "line 236" in bad.problem) == (209, True)
    assert all((seed.reference or "").startswith(("SELECT", "WITH")) for seed in seeds)
