"""What the nodes of the seed's graph do: classify, expand into drafts, close the books on it."""

from __future__ import annotations

from dataclasses import replace

from agents.categories import Category
from agents.expansion import ROLE, Task, VariantAnswer, claimed_category, classify, expand
from common.hashing import digest
from common.language import detect_language
from graph.services import Services
from graph.state import GO, Draft, SeedInput, SeedState, Step
from teachers.errors import TeacherError
from teachers.terms import Contribution


class SeedNodes:
    """The nodes as methods over one run's services."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.agents.expansion

    async def classify(self, state: SeedState) -> SeedState:
        """Fills in the category and language that the seed's file did not give."""
        seed = state["seed"]
        language = seed.language or detect_language(f"{seed.instruction}\n{seed.input}")
        if seed.category is not None:
            return {"seed": replace(seed, language=language or "en"), "step": GO}
        if ROLE not in self._services.bindings or self._settings.classify == "never":
            seed = replace(seed, category="other", language=language or "en")
            return {"seed": seed, "step": GO}
        binding = self._services.bindings[ROLE]
        asker = self._services.books.asker(binding.gateway, binding.sampling, seed.id, None, 0)
        try:
            answer = await classify(
                asker, self._services.prompts, self._settings, seed.instruction, seed.input
            )
        except TeacherError as error:
            if error.fatal:
                raise
            shape = self._services.shape(ROLE, self._settings.classify_prompt)
            failed = Step("fail", error.code, error.what)
            return {"step": failed, "shaped_by": {"classify": shape}}
        prompt = self._settings.classify_prompt
        return {
            "seed": replace(
                seed,
                category=answer.value.category,
                language=language or answer.value.language,
            ),
            "step": GO,
            "shaped_by": {"classify": self._services.shape(ROLE, prompt)},
        }

    async def expand(self, state: SeedState) -> SeedState:
        """Makes the drafts: the seed's own instruction, and the variants the teacher writes."""
        seed = state["seed"]
        shaped_by = state.get("shaped_by", {})
        drafts = [self._own_draft(seed)] if self._settings.keep_seed else []
        if ROLE not in self._services.bindings or self._settings.variants == 0:
            return {"drafts": self._walking(drafts)}
        binding = self._services.bindings[ROLE]
        asker = self._services.books.asker(binding.gateway, binding.sampling, seed.id, None, 0)
        shape = self._services.shape(ROLE, self._settings.prompt)
        shaped_by = {**shaped_by, "expand": shape}
        assert seed.category is not None and seed.language is not None, "classify sets both"
        task = Task(seed.instruction, seed.input, seed.category, seed.language, seed.system)
        try:
            answer = await expand(asker, self._services.prompts, self._settings, task)
        except TeacherError as error:
            if error.fatal:
                raise
            # The seed's own instruction is still worth its walk; the failure stays on the seed.
            step = Step("fail", f"expansion_{error.code}", error.what)
            return {"drafts": self._walking(drafts), "step": step, "shaped_by": shaped_by}
        for number, variant in enumerate(answer.value.variants, start=1):
            drafts.append(self._variant_draft(seed, number, variant, shape, answer.reply.by))
        return {"drafts": self._walking(drafts), "shaped_by": shaped_by}

    def _walking(self, drafts: list[Draft]) -> tuple[Draft, ...]:
        only = self._services.only_variant
        return tuple(draft for draft in drafts if only is None or draft.variant == only)

    def _own_draft(self, seed: SeedInput) -> Draft:
        assert seed.category is not None and seed.language is not None, "classify sets both"
        return Draft(
            id=digest([seed.id, 0, 0]),
            seed_id=seed.id,
            parent_id=None,
            family_id=seed.family_id,
            origin="seed",
            variant=0,
            round=0,
            category=seed.category,
            language=seed.language,
            system=seed.system,
            instruction=seed.instruction,
            original_instruction=None,
            input=seed.input,
            reference=seed.reference,
        )

    def _variant_draft(
        self, seed: SeedInput, number: int, variant: VariantAnswer, shape: str, by: Contribution
    ) -> Draft:
        claimed: Category = claimed_category(variant) or "other"
        own = self._own_draft(seed)
        draft = replace(
            own,
            id=digest([seed.id, number, 0]),
            origin="expansion",
            variant=number,
            instruction=variant.instruction.strip(),
            input="",
            reference=None,
            claimed_category=claimed,
        )
        return draft.shaped("expand", shape, by)

    async def close(self, state: SeedState) -> SeedState:
        """Marks the seed done, or failed with its reason, and forgets what was known of it."""
        seed = state["seed"]
        step = state.get("step", GO)
        reached = {outcome.sample_id for outcome in state.get("outcomes", [])}
        history = self._services.history
        earlier = [s.sample_id for s in history.values() if s.seed_id == seed.id]
        failed = step.kind == "fail"
        self._services.books.seed_ended(
            seed,
            "failed" if failed and not reached else "done",
            step.reason if failed else ("expanded" if reached else "no_candidates"),
            state.get("shaped_by", {}),
            [sample for sample in earlier if sample not in reached],
        )
        for sample in earlier:
            del history[sample]
        return {}
