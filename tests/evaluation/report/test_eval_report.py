"""`stillhouse eval report`: one page that needs nothing else, and can be harmed by nothing."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from evaluated_corpus import AFTER, said
from factory import cli, last_line


class Page(HTMLParser):
    """What a browser would find: tags with attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _unpacked(link: str | None) -> Any:
    kind, _, rows = (link or "").partition(";base64,")
    assert kind == "data:application/json"
    return json.loads(base64.b64decode(rows))


@pytest.fixture(scope="module")
def folder(corpus: Path) -> Path:
    done = cli(
        "eval", "report", "--db", str(corpus), "--output", "report", "--before", "before",
        "--after", AFTER, "--size", "before=0.5B", "--json", cwd=corpus.parent,
    )  # fmt: skip
    found = last_line(said(done))
    assert found["sections"] == ["IFEval", "MT-Bench", "AlpacaEval 2", "SQL completion",
                                 "Published: Qwen2.5 → DistilQwen2.5"]  # fmt: skip
    return corpus.parent / "report"


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_nothing_outside_is_needed(text: str, page: Page) -> None:
    fetched = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster") and value
    ]
    assert fetched and all(value.startswith(("data:", "#")) for value in fetched)
    assert "@import" not in text and "url(" not in text
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'")


def test_hostile_answers_and_names_stay_text(text: str, page: Page) -> None:
    assert {name for name, _ in page.tags}.isdisjoint({"script", "b", "i", "iframe", "object"})
    handlers = [n for _, attributes in page.tags for n in attributes if n.startswith("on")]
    assert not handlers
    words = "".join(page.words)
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in words
    assert "<b onmouseover=alert(3)>after</b>" in words and "{{ 7 * 7 }}" in words
    alternatives = "".join(picture["alt"] or "" for picture in page.all("img"))
    assert "words <i>x</i>" in alternatives, "a category's name"
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", text)


def test_japanese_and_chinese_text_is_there_with_fonts_declared(text: str, page: Page) -> None:
    assert "蒸留後" in "".join(page.words) and "“東京” 教师" in "".join(page.words)
    assert 'charset="utf-8"' in text and "Noto Sans CJK JP" in text and "PingFang SC" in text


def test_every_picture_has_words_and_rows(page: Page, folder: Path) -> None:
    pictures = page.all("img")
    assert len(pictures) == len(list(folder.glob("*.png"))) >= 10
    for picture in pictures:
        assert len(picture["alt"] or "") > 40
        source = (picture["src"] or "").removeprefix("data:image/png;base64,")
        assert base64.b64decode(source).startswith(b"\x89PNG")
    links = {a["download"]: a["href"] for a in page.all("a") if "download" in a}
    assert {f"{file.stem}.json" for file in folder.glob("*.png")} <= set(links)
    rows = _unpacked(links["01-ifeval-groups.json"])
    after = [row for row in rows if row["model"].startswith("after") and row["group"] == "startend"]
    assert after == [
        {"group": "startend", "model": f"after: {AFTER}", "value": 100.0, "low": None, "high": None}
    ]
    items = _unpacked(links["ifeval-figures.json"])["items"]
    assert len(items) == 20 and items[0] == {"item": "0", "outcomes": [0.0, 100.0]}


def test_there_are_bars_radars_sizes_and_latencies(folder: Path) -> None:
    names = {file.name for file in folder.glob("*.png")}
    assert {"01-ifeval-scores.png", "02-mt-bench-radar.png", "01-ifeval-size-prompt-strict.png",
            "04-sql-latency.png", "04-sql-scores.png"} <= names  # fmt: skip


def test_light_and_dark_and_narrow_are_provided_for(text: str) -> None:
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_a_model_leads_back_to_its_rows(corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "corpus.db"
    with closing(sqlite3.connect(corpus)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute(
            "INSERT INTO export (id, path, format, rows, content_hash, manifest, created_at) VALUES"
            " ('e1e1e1e1e1e1e1', '/home/someone/out/corpus.jsonl', 'jsonl', 3412, 'abcdef0123456',"
            " '{}', '2026-01-01 00:00:00')"
        )
        target.execute(
            "INSERT INTO training_run (id, export_id, stage, recipe_text, recipe_hash, status,"
            " output, started_at) VALUES ('f0f0f0f0f0f0f0', 'e1e1e1e1e1e1e1', 'small/kd', '', '',"
            " 'finished', '/home/someone/out/kd/model', '2026-01-01 00:00:00')"
        )
        target.execute("UPDATE evaluation SET training_run_id = 'f0f0f0f0f0f0f0'")
        target.commit()
    said(cli("eval", "report", "--db", str(copy), "--before", "short", "-o", "r", cwd=tmp_path))
    words = "".join(Page((tmp_path / "r" / "index.html").read_text()).words)
    assert (
        "← kd/model, by training run f0f0f0f0f0f0 (small/kd) ← export e1e1e1e1e1e1, "
        "out/corpus.jsonl ← 3,412 rows, hash abcdef012345"
    ) in words
    assert "someone" not in words


def test_without_roles_comparable_models_stand_together(corpus: Path, tmp_path: Path) -> None:
    done = cli("eval", "report", "--db", str(corpus), "-o", "all", "--json", cwd=tmp_path)
    found = last_line(said(done))
    # The short evaluation is of other items and stands alone.
    assert found["sections"].count("IFEval") == 2


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("--size", "before"), "stands neither a number of parameters"),
        (("--before", "nobody"), "No model and no identifier is so called."),
        (("--series", "none.yaml"), "No such file"),
        (("--proving-ground", "none.json"), "No such file"),
        (("--output", "/dev/null/report"), "Not a directory"),
    ],
)
def test_what_is_not_there_is_refused(
    corpus: Path, tmp_path: Path, words: tuple[str, ...], cause: str
) -> None:
    done = cli("eval", "report", "--db", str(corpus), *words, "--json", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert cause in done.stderr and last_line(done.stdout)["page"] is None


def test_an_empty_corpus_has_nothing_to_report(corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "corpus.db"
    with closing(sqlite3.connect(corpus)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("UPDATE evaluation SET status = 'failed', metrics = NULL")
        target.commit()
    done = cli("eval", "report", "--db", str(copy), cwd=tmp_path)
    assert done.returncode == 1 and "There is nothing to report." in done.stderr
