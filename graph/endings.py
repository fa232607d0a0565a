"""How a draft's walk ends: accepted, rejected, held or failed; or goes round again, as a child."""

from __future__ import annotations

from dataclasses import replace

from common.hashing import digest
from graph.history import PriorReview
from graph.services import Services
from graph.state import GO, Draft, Outcome, SampleState, Status
from storage.writer import Change


class Endings:
    """The last nodes of a walk; each commits the sample's final state."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def accept(self, state: SampleState) -> SampleState:
        """The draft is in the corpus, with a reviewer's edits where there are any."""
        draft = state["draft"]
        if state["step"].reason == "accepted_by_human":
            review = self._review(draft.id)
            draft = replace(
                draft,
                instruction=review.edited_instruction or draft.instruction,
                response=review.edited_response or draft.response,
            )
        return self._end(state, draft, "accepted")

    async def reject(self, state: SampleState) -> SampleState:
        """The draft is kept with the reason why it is not in the corpus."""
        return self._end(state, state["draft"], "rejected")

    async def hold(self, state: SampleState) -> SampleState:
        """The draft waits for a person."""
        return self._end(state, state["draft"], "held")

    async def fail(self, state: SampleState) -> SampleState:
        """A teacher's typed failure ended the draft."""
        return self._end(state, state["draft"], "failed")

    def _end(self, state: SampleState, draft: Draft, status: Status) -> SampleState:
        services, step = self._services, state["step"]
        further: list[Change] = []
        prior = services.history.get(draft.id)
        if prior is not None and prior.review is not None:
            if step.reason in ("accepted_by_human", "rejected_by_human"):
                further.append(self._human_verdict(draft.id))
            # Also where the words have changed since: then a person is to decide on the new ones.
            further.append(services.books.review_applied(prior.review.id))
        services.books.sample(draft, status, step.reason, *further, detail=step.detail)
        if status in ("rejected", "failed") and step.reason not in GATE_REASONS:
            services.gates.give_back(draft.category)
        return {"outcomes": [Outcome(draft.id, status, step.reason)]}

    def _review(self, sample_id: str) -> PriorReview:
        review = self._services.history[sample_id].review
        assert review is not None, "asked only where there is one"
        return review

    def _human_verdict(self, sample_id: str) -> Change:
        review = self._review(sample_id)
        label = "fail" if review.decision == "reject" else "pass"
        evidence = {"reviewer": review.reviewer, "note": review.note, "decision": review.decision}
        return self._services.books.verdict(sample_id, "human", "human", label, evidence)

    async def revise(self, state: SampleState) -> SampleState:
        """This round is rejected; its child goes back to rewriting with the verdict's evidence."""
        draft, books = state["draft"], self._services.books
        step = state["step"]
        books.sample(draft, "rejected", step.reason, detail=step.detail)
        child = replace(
            draft,
            id=digest([draft.seed_id, draft.variant, draft.round + 1]),
            parent_id=draft.id,
            feedback=step.detail,
            origin="revision",
            round=draft.round + 1,
            instruction=draft.original_instruction or draft.instruction,
            original_instruction=None,
            reasoning=None,
            response=None,
            finish_reason=None,
            refusal=None,
            responder=None,
            response_prompt=None,
            score=None,
        )
        known = child.id in self._services.history
        books.sample(child, "pending", None, *(books.forget_findings(child.id) if known else ()))
        return {
            "draft": child,
            "step": GO,
            "outcomes": [Outcome(draft.id, "rejected", step.reason)],
        }


GATE_REASONS = ("off_language", "off_category", "duplicate", "over_quota")
