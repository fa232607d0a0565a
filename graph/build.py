"""Nodes and edges, nothing else: the seed's graph and, inside it, the graph each draft walks.

    seed ▶ classify ▶ expand ─Send▶ gate ▶ rewrite ▶ respond ▶ select ▶ verify ▶ accept
                                             ▲                           │ └─▶ reject · hold · fail
                                             └────────── revise ◀────────┘

Which edge is taken is `graph.routes`; what a node does is `graph.sample_nodes`, `graph.seed_nodes`
and `graph.endings`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send

from graph import routes
from graph.endings import Endings
from graph.sample_nodes import SampleNodes
from graph.seed_nodes import SeedNodes
from graph.services import Services
from graph.state import SampleOutcomes, SampleState, SeedState

Graph = CompiledStateGraph[Any, Any, Any, Any]
Node = Callable[[Any], Awaitable[Mapping[str, Any]]]
Route = Callable[[Any], str | Sequence[Send]]


def build_sample_graph(services: Services) -> Graph:
    """The walk of one draft from the gate to an ending."""
    nodes, endings = SampleNodes(services), Endings(services)
    graph = StateGraph(SampleState, output_schema=SampleOutcomes)
    for name, node, route, onwards in (
        ("gate", nodes.gate, routes.after_gate, "rewrite"),
        ("rewrite", nodes.rewrite, routes.after_rewrite, "respond"),
        ("respond", nodes.respond, routes.after_respond, "select"),
        ("select", nodes.select, routes.after_select, "verify"),
        ("verify", nodes.verify, routes.after_verify, "revise"),
    ):
        _add_routed(graph, name, node, route, (onwards, *routes.ENDINGS))
    graph.add_node("revise", endings.revise)
    graph.add_node("accept", endings.accept)
    graph.add_node("reject", endings.reject)
    graph.add_node("hold", endings.hold)
    graph.add_node("fail", endings.fail)
    graph.add_edge(START, "gate")
    graph.add_edge("revise", "rewrite")
    for ending in routes.ENDINGS:
        graph.add_edge(ending, END)
    return graph.compile(name="sample")


def build_graph(services: Services) -> Graph:
    """The walk of one seed; its drafts walk side by side."""
    nodes = SeedNodes(services)
    graph = StateGraph(SeedState)
    _add_routed(graph, "classify", nodes.classify, routes.after_classify, ("expand", "close"))
    _add_routed(graph, "expand", nodes.expand, routes.after_expand, ("sample", "close"))
    graph.add_node("sample", build_sample_graph(services))
    graph.add_node("close", nodes.close)
    graph.add_edge(START, "classify")
    graph.add_edge("sample", "close")
    graph.add_edge("close", END)
    return graph.compile(name="factory")


def _add_routed(
    graph: StateGraph[Any, Any, Any, Any],
    name: str,
    node: Node,
    route: Route,
    destinations: tuple[str, ...],
) -> None:
    """Adds a node with its conditional edge: `route` sees the state as the node left it.

    The edge travels in the node's own `Command`, which says the same as `add_conditional_edges`
    at half the cost per step: LangGraph need not rebuild the state for the route to read.
    """

    async def walk(state: dict[str, Any]) -> Command[Any]:
        update = await node(state)
        return Command(update=update, goto=route({**state, **update}))

    graph.add_node(name, cast(Any, walk), destinations=destinations)
