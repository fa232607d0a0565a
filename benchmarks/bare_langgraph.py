"""The yardstick of `factory_overhead.py`: four LangGraph nodes, one plain `ChatOpenAI` call each.

No cache, database, retries, limits, schema or accounting: what a quick script would do. Run as
`python benchmarks/bare_langgraph.py BASE_URL SEEDS CONCURRENCY`; prints how many calls it made.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise
from typing import TypedDict

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import SecretStr

INSTRUCTION = (
    "Write two sentences about the history of district {} and why it matters to the people who "
    "live there, for a visitor who has an afternoon to spend."
)


class State(TypedDict, total=False):
    instruction: str
    rewritten: str
    response: str
    scores: str
    verdict: str


async def main(base_url: str, seeds: int, concurrency: int) -> None:
    model = ChatOpenAI(
        model="simulated-teacher", base_url=base_url, api_key=SecretStr("none"), max_retries=0
    )
    calls = 0

    async def ask(text: str) -> str:
        nonlocal calls
        calls += 1
        return str((await model.ainvoke(text)).content)

    async def rewrite(state: State) -> State:
        return {"rewritten": await ask(f"Rewrite this instruction:\n{state['instruction']}")}

    async def respond(state: State) -> State:
        return {"response": await ask(f"Answer this instruction:\n{state['rewritten']}")}

    async def select(state: State) -> State:
        return {"scores": await ask(f"Score this answer from 0 to 9:\n{state['response']}")}

    async def verify(state: State) -> State:
        return {"verdict": await ask(f"Is this answer right?\n{state['response']}")}

    graph = StateGraph(State)
    names = [("rewrite", rewrite), ("respond", respond), ("select", select), ("verify", verify)]
    for name, node in names:
        graph.add_node(name, node)
    graph.add_edge(START, "rewrite")
    for (before, _), (after, _) in pairwise(names):
        graph.add_edge(before, after)
    graph.add_edge("verify", END)
    compiled = graph.compile()
    slots = asyncio.Semaphore(concurrency)

    async def one(number: int) -> None:
        async with slots:
            await compiled.ainvoke({"instruction": INSTRUCTION.format(number)})

    await asyncio.gather(*(one(number) for number in range(seeds)))
    print(calls)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
