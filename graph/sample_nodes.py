"""What the nodes of a draft's walk do, from the gate to verification; endings are in `endings`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import wraps
from typing import Any

from agents import rewriting, selection, verification
from graph.books import BookedAsker
from graph.gates import fingerprint, in_another_language
from graph.history import PriorReview
from graph.services import Services
from graph.state import GO, Draft, SampleState, Step
from storage.review import text_hash
from storage.writer import Change
from teachers.errors import TeacherError
from teachers.terms import merge_contributions

Node = Callable[["SampleNodes", SampleState], Coroutine[Any, Any, SampleState]]


def _fails_typed(step: str) -> Callable[[Node], Node]:
    """A teacher's typed failure ends the draft; one that concerns every call ends the run.

    The failed step stays in the draft's lineage, so that another prompt, teacher or setting makes
    the failure stale and the sample walks again.
    """

    def guard(node: Node) -> Node:
        @wraps(node)
        async def guarded(self: SampleNodes, state: SampleState) -> SampleState:
            try:
                return await node(self, state)
            except TeacherError as error:
                if error.fatal:
                    raise
                draft = state["draft"].shaped(step, self.shape_of(step, state["draft"]))
                return {"draft": draft, "step": Step("fail", error.code, error.what)}

        return guarded

    return guard


class SampleNodes:
    """The nodes as methods over one run's services."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._agents = services.agents

    def _asker(self, role: str, draft: Draft) -> BookedAsker:
        binding = self._services.bindings[role]
        return self._services.books.asker(
            binding.gateway, binding.sampling, draft.seed_id, draft.id, draft.round
        )

    def shape_of(self, step: str, draft: Draft) -> str:
        """What shapes a step for this draft: prompt, teacher and settings, in short."""
        agents = self._agents
        role, prompt = {
            "rewrite": (rewriting.REWRITING_ROLE, agents.rewriting.prompt),
            "respond": (
                rewriting.RESPONSE_ROLE,
                rewriting.response_prompt(agents.response, draft.category),
            ),
            "select": (selection.ROLE, agents.selection.prompt),
            "verify": (verification.ROLE, agents.verification.prompt),
        }[step]
        return self._services.shape(role, prompt)

    async def gate(self, state: SampleState) -> SampleState:
        """Rejects what is not worth a teacher's tokens: the wrong language or category, what is in
        the corpus already, what its category has no room for."""
        services, draft = self._services, state["draft"]
        draft = replace(draft, fingerprint=fingerprint(draft.instruction, draft.input))
        gates = services.recipe.gates
        decisions: list[Change] = []
        step = GO

        def decide(name: str, passed: bool, evidence: dict[str, Any]) -> None:
            nonlocal step
            label = "pass" if passed else "fail"
            decisions.append(services.books.verdict(draft.id, name, "gate", label, evidence))
            if not passed:
                step = Step("reject", name)

        varied = draft.origin == "expansion"
        if gates.language and varied and in_another_language(draft.instruction, draft.language):
            decide("off_language", False, {"expected": draft.language})
        claimed = draft.claimed_category or draft.category
        if step is GO and gates.category and claimed != draft.category:
            decide("off_category", False, {"expected": draft.category, "claimed": claimed})
        if step is GO and gates.duplicates:
            passed, evidence = await self._duplicate(draft)
            decide("duplicate", passed, evidence)
        if step is GO and gates.quotas.get(draft.category) is not None:
            passed, evidence = self._quota(draft)
            decide("over_quota", passed, evidence)
        if draft.id in services.history:
            decisions = [*services.books.forget_findings(draft.id), *decisions]
        services.books.sample(draft, "pending", None, *decisions)
        return {"draft": draft, "step": step}

    async def _duplicate(self, draft: Draft) -> tuple[bool, dict[str, Any]]:
        prior = self._prior(draft, "duplicate")
        if prior is not None and prior[1].get("fingerprint") == draft.fingerprint:
            return prior
        assert draft.fingerprint is not None, "the gate sets it"
        evidence = {"fingerprint": draft.fingerprint}
        if not self._services.gates.is_duplicate(draft.fingerprint):
            return True, evidence
        owner = await self._services.find_owner(draft.fingerprint)
        if owner is None or owner == draft.id:
            return True, evidence
        return False, {**evidence, "of": owner}

    def _quota(self, draft: Draft) -> tuple[bool, dict[str, Any]]:
        gates = self._services.gates
        prior = self._prior(draft, "over_quota")
        if prior is not None:
            passed, about = prior
            same = about.get("category") == draft.category
            if same and (passed or about.get("quota") == gates.quota(draft.category)):
                return prior
        passed = gates.take_place(draft.category)
        live, quota = gates.live(draft.category), gates.quota(draft.category)
        return passed, {"category": draft.category, "live": live, "quota": quota}

    def _prior(self, draft: Draft, name: str) -> tuple[bool, dict[str, Any]] | None:
        sample = self._services.history.get(draft.id)
        for decision in sample.decisions if sample else ():
            if decision.name == name:
                return decision.label == "pass", decision.evidence
        return None

    @_fails_typed("rewrite")
    async def rewrite(self, state: SampleState) -> SampleState:
        """Says the instruction differently; a rewording in another language is not taken."""
        draft = state["draft"]
        settings = self._agents.rewriting
        if not settings.enabled:
            return {"draft": draft, "step": GO}
        rewritten = await rewriting.rewrite(
            self._asker(rewriting.REWRITING_ROLE, draft),
            self._services.prompts,
            settings,
            draft.task,
            draft.feedback,
        )
        shape = self.shape_of("rewrite", draft)
        kept = rewritten.kept_original
        if kept is None and in_another_language(rewritten.instruction, draft.language):
            kept = "the rewording was in another language"
        if kept is not None:
            books = self._services.books
            evidence = {"kept_original": kept, "reworded": rewritten.instruction}
            books.writer.submit(
                [
                    books.verdict(
                        draft.id,
                        "rewording",
                        "executable",
                        "fail",
                        evidence,
                        rewritten.reply.request_key,
                    )
                ]
            )
            return {"draft": draft.shaped("rewrite", shape), "step": GO}
        draft = replace(
            draft,
            original_instruction=draft.original_instruction or draft.instruction,
            instruction=rewritten.instruction,
        )
        return {"draft": draft.shaped("rewrite", shape, rewritten.reply.by), "step": GO}

    @_fails_typed("respond")
    async def respond(self, state: SampleState) -> SampleState:
        """Writes the response; one that was cut or refused ends the draft here."""
        draft = state["draft"]
        settings = self._agents.response
        response = await rewriting.respond(
            self._asker(rewriting.RESPONSE_ROLE, draft),
            self._services.prompts,
            settings,
            draft.task,
            draft.feedback,
            draft.round,
        )
        shape = self.shape_of("respond", draft)
        draft = replace(
            draft,
            response=response.response,
            reasoning=response.reasoning,
            finish_reason=response.finish_reason,
            refusal=response.refusal,
            responder=response.reply.by.teacher,
            response_prompt=shape.rpartition("#")[0],
        ).shaped("respond", shape, response.reply.by)
        step = GO
        if response.cut:
            step = Step("reject", "truncated")
        elif response.refusal is not None:
            step = Step("reject", "refused", response.refusal)
        return {"draft": draft, "step": step}

    @_fails_typed("select")
    async def select(self, state: SampleState) -> SampleState:
        """Scores the candidate; below the recipe's minimum it is rejected."""
        draft = state["draft"]
        settings = self._agents.selection
        if not settings.enabled:
            return {"step": GO}
        assert draft.response is not None, "respond sets it"
        scored = await selection.score(
            self._asker(selection.ROLE, draft),
            self._services.prompts,
            settings,
            draft.task,
            draft.response,
            draft.reasoning,
        )
        answer = scored.answer
        draft = replace(draft, score=answer.total if answer else None)
        draft = draft.shaped("select", self.shape_of("select", draft))
        row = {
            "label": "unscored" if answer is None else "scored",
            "informativeness": answer.informativeness if answer else None,
            "helpfulness": answer.helpfulness if answer else None,
            "generalisation": answer.generalisation if answer else None,
            "rationale": answer.rationale if answer else scored.problem,
            "request_key": scored.request_key,
        }
        books = self._services.books
        books.writer.submit([books.score(draft.id, row)])
        if answer is None:
            return {
                "draft": draft,
                "step": self._by_policy(settings.on_unscored, "unscored", draft),
            }
        shortfall = selection.below_minimum(answer, settings.minimum)
        step = Step("reject", "low_score", shortfall) if shortfall else GO
        return {"draft": draft, "step": step}

    @_fails_typed("verify")
    async def verify(self, state: SampleState) -> SampleState:
        """Decides correctness and consistency; a person decides where the recipe asks for one."""
        draft = state["draft"]
        settings = self._agents.verification
        if not settings.enabled:
            return {"step": self._after_people(draft, Step("accept", "not_verified"))}
        assert draft.response is not None, "respond sets it"
        result = await verification.verify(
            self._asker(verification.ROLE, draft),
            self._services.prompts,
            settings,
            draft.task,
            draft.response,
            draft.reasoning,
            draft.finish_reason,
        )
        draft = draft.shaped("verify", self.shape_of("verify", draft))
        books = self._services.books
        books.writer.submit(
            [
                books.verdict(draft.id, f.name, f.kind, f.label, f.evidence, f.request_key)
                for f in result.findings
            ]
        )
        if result.label == "pass":
            return {"draft": draft, "step": self._after_people(draft, Step("accept", "verified"))}
        if result.label == "unscored":
            step = self._by_policy(settings.on_unscored, "unverified", draft)
            return {"draft": draft, "step": step}
        if draft.round < settings.max_rounds:
            step = Step("revise", "verification_failed", result.feedback)
            if any(f.kind == "judge" for f in result.findings):
                # The judge's words go into the next round's prompts, and its terms with them.
                judge = self._services.bindings[verification.ROLE].gateway.contribution
                contributions = merge_contributions(draft.contributions, (judge,))
                draft = replace(draft, contributions=contributions)
        else:
            step = Step("reject", "verification_failed", result.feedback)
        return {"draft": draft, "step": step}

    def _by_policy(self, policy: selection.Policy, reason: str, draft: Draft) -> Step:
        human = self._agents.verification.human
        if policy == "hold" or (reason == "unverified" and human.when == "unscored"):
            return self._after_people(draft, Step("hold", reason))
        if policy == "accept":
            return GO if reason == "unscored" else Step("accept", reason)
        return Step("reject", reason)

    def _after_people(self, draft: Draft, step: Step) -> Step:
        """A person's decision, where there is one; a hold, where the recipe wants one."""
        review = self._review(draft)
        if review is not None:
            if review.decision == "reject":
                return Step("reject", "rejected_by_human", review.note)
            return Step("accept", "accepted_by_human", review.note)
        human = self._agents.verification.human
        wanted = human.when == "always" or draft.category in human.categories
        return Step("hold", "human_review") if wanted and step.kind == "accept" else step

    def _review(self, draft: Draft) -> PriorReview | None:
        """A decision about these very words; one about others, since made anew, does not count."""
        sample = self._services.history.get(draft.id)
        review = sample.review if sample else None
        if review is None or review.text_hash is None:
            return review
        seen = text_hash(draft.instruction, draft.reasoning, draft.response)
        return review if review.text_hash == seen else None
