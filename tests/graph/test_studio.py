"""LangGraph Studio can open the factory: `langgraph.json` leads to a graph that walks a seed."""

from __future__ import annotations

import asyncio
import importlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_graph_that_langgraph_json_names_walks_a_typed_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_DB", str(tmp_path / "studio.db"))
    monkeypatch.chdir(tmp_path)
    named = json.loads((CHECKOUT / "langgraph.json").read_text())["graphs"]["factory"]
    path, _, attribute = named.partition(":")
    assert (CHECKOUT / path).is_file()
    module = importlib.import_module(path.removeprefix("./").removesuffix(".py").replace("/", "."))

    async def walk() -> dict[str, object]:
        async with getattr(module, attribute)({}) as graph:
            nodes = set(graph.get_graph(xray=True).nodes)
            assert {"take_in", "factory:classify", "factory:sample:verify"} <= nodes
            seed = {"instruction": "What is 12 * 12?", "category": "math"}
            result: dict[str, object] = await graph.ainvoke(seed)
            return result

    result = asyncio.run(walk())
    outcomes = result["outcomes"]
    assert isinstance(outcomes, list) and len(outcomes) >= 2
    with closing(sqlite3.connect(tmp_path / "studio.db")) as corpus:
        assert corpus.execute("SELECT status, source FROM seed").fetchall() == [("done", "studio")]
        (samples,) = corpus.execute("SELECT count(*) FROM sample").fetchone()
    assert samples == len(outcomes)
