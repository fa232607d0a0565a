"""Hands out the corpus's pending seeds, a page at a time, with what was decided about them before.

In: the corpus. Out: `SeedInput`s in the order in which the seeds were first read; what earlier
invocations decided about a seed's samples is put into the services' history before it walks.
"""

from __future__ import annotations

import asyncio
from typing import Any

from graph.history import PriorDecision, PriorReview, PriorSample
from graph.services import Services
from graph.state import SeedInput
from storage import corpus
from storage.database import Database

PAGE = 256


class Pages:
    """Hands out pending seeds in order, reading a page ahead of need; knows what was decided
    about their samples before."""

    def __init__(self, database: Database, services: Services, total: int) -> None:
        self._database = database
        self._services = services
        self._left = total
        self._page: list[SeedInput] = []
        self._after = -1
        self._lock = asyncio.Lock()

    async def next(self) -> SeedInput | None:
        """The next seed, or None when there is none left for this invocation."""
        async with self._lock:
            if not self._page and self._left > 0:
                self._page = await asyncio.to_thread(self._read)
                self._page.reverse()
            if not self._page:
                return None
            self._left -= 1
            return self._page.pop()

    def _read(self) -> list[SeedInput]:
        name = self._services.recipe.name
        with self._database.read() as connection:
            rows = corpus.pending_seeds(connection, name, self._after, min(PAGE, self._left))
            if not rows:
                return []
            self._after = rows[-1]["ordinal"]
            earlier = corpus.earlier_walk(connection, [row["id"] for row in rows])
        for sample in earlier:
            self._services.history[sample["id"]] = _prior(sample)
        return [
            SeedInput(
                id=row["id"],
                family_id=row["family_id"],
                instruction=row["instruction"],
                input=row["input"],
                system=row["system"],
                reference=row["reference"],
                # What classification found on an earlier walk is asked anew: its prompt may differ.
                category=None if "classify" in (row["shaped_by"] or {}) else row["category"],
                language=row["language"],
            )
            for row in rows
        ]


def _prior(sample: dict[str, Any]) -> PriorSample:
    review = sample["review"]
    decisions = sample["decisions"]
    assert isinstance(decisions, list) and (review is None or isinstance(review, dict))
    return PriorSample(
        sample_id=str(sample["id"]),
        seed_id=str(sample["seed_id"]),
        status=str(sample["status"]),
        decisions=tuple(
            PriorDecision(d["name"], d["label"], d["evidence"] or {}) for d in decisions
        ),
        review=None
        if review is None
        else PriorReview(
            id=review["id"],
            decision=review["decision"],
            reviewer=review["reviewer"],
            note=review["note"],
            edited_instruction=review["edited_instruction"],
            edited_response=review["edited_response"],
            text_hash=review["text_hash"],
        ),
    )
