"""The compiled graphs: exactly the plan's nodes and edges, and every node can be reached."""

from __future__ import annotations

from typing import Any

import pytest

from agents.prompts import PromptLibrary
from common.paths import prompts_folder
from graph.build import Graph, build_graph, build_sample_graph
from graph.gates import Gates
from graph.recipe import Recipe
from graph.services import Services

ENDINGS = {"accept", "reject", "hold", "fail"}
WALK = ["gate", "rewrite", "respond", "select", "verify"]


@pytest.fixture
def services() -> Services:
    recipe = Recipe.model_validate(
        {"name": "drawn", "teacher": "local", "teachers": {"local": {"kind": "simulated"}}}
    )

    async def find_owner(fingerprint: str) -> str | None:
        return None

    # A drawing needs no books: nobody writes while nothing walks.
    books: Any = None
    return Services(recipe, PromptLibrary(prompts_folder()), {}, books, Gates(), find_owner)


def nodes_of(graph: Graph) -> set[str]:
    return set(graph.get_graph().nodes) - {"__start__", "__end__"}


def edges_of(graph: Graph) -> set[tuple[str, str, bool]]:
    return {(e.source, e.target, e.conditional) for e in graph.get_graph().edges}


def reached(graph: Graph) -> set[str]:
    edges = edges_of(graph)
    found = {"__start__"}
    while further := {target for source, target, _ in edges if source in found} - found:
        found |= further
    return found


def test_a_draft_walks_the_nodes_of_the_plan(services: Services) -> None:
    assert nodes_of(build_sample_graph(services)) == {*WALK, "revise", *ENDINGS}


def test_a_seed_walks_the_nodes_of_the_plan(services: Services) -> None:
    assert nodes_of(build_graph(services)) == {"classify", "expand", "sample", "close"}


def test_a_drafts_edges_are_the_plans(services: Services) -> None:
    onwards = {(a, b, True) for a, b in zip(WALK, [*WALK[1:], "revise"], strict=True)}
    endings = {(node, ending, True) for node in WALK for ending in ENDINGS}
    fixed = {("__start__", "gate", False), ("revise", "rewrite", False)}
    fixed |= {(ending, "__end__", False) for ending in ENDINGS}
    assert edges_of(build_sample_graph(services)) == onwards | endings | fixed


def test_a_seeds_edges_are_the_plans(services: Services) -> None:
    assert edges_of(build_graph(services)) == {
        ("__start__", "classify", False),
        ("classify", "expand", True),
        ("classify", "close", True),
        ("expand", "sample", True),
        ("expand", "close", True),
        ("sample", "close", False),
        ("close", "__end__", False),
    }


def test_every_node_can_be_reached_and_every_walk_can_end(services: Services) -> None:
    for graph in (build_graph(services), build_sample_graph(services)):
        assert reached(graph) == nodes_of(graph) | {"__start__", "__end__"}


def test_the_draft_graph_can_be_drawn_inside_the_seeds(services: Services) -> None:
    drawn = build_graph(services).get_graph(xray=True).draw_mermaid()
    for node in (*WALK, "revise", *ENDINGS):
        assert node in drawn


def test_no_checkpointer_is_attached(services: Services) -> None:
    assert build_graph(services).checkpointer is None
