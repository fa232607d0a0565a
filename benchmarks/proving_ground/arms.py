"""What is compared: every arm of the proving ground, each trained with several seeds.

In: a `Pipeline`. Out: `Arm`s by name, headline or all. Arms of one seed begin with the same
untrained weights and the same base model; what follows differs by one thing at a time. Every arm
of one stage after the base model takes as many steps as `sft`, every arm of two as many as
`sft+kd`, on however many samples.

| arm | what it is |
| --- | --- |
| `before` | the base model: a little of the world's own responses |
| `sft` | then the teacher's verified answers |
| `sft+kd` | `sft`, then KD on the same answers: `tail_bucket`, k = 10, the largest teacher |
| `sft+sft` | `sft`, and SFT again for as many steps as KD takes |
| `lessons` | no teacher: the base model goes on with its own responses for the steps of `sft` |
| `lessons+lessons` | … and for those of KD |
| `sft-unverified` | SFT on all first answers, right or wrong |
| `sft-matched` | SFT on first answers, as many per family, language and level as were verified |
| `kd-only` | KD without SFT first, for the steps of both |
| `sft+kd:OBJECTIVE` | another objective |
| `sft+kd:fused` | two teachers, half and half |
| `sft+kd:teacher-SIZE` | a smaller teacher's rows for the same answers |
| `sft+kd:k-K`, `sft+kd:data-N` | other numbers of ids per row; fewer samples for KD |
| `sft+kd:alpha-A`, `sft+kd:temperature-T` | other weights of KD beside CE; other temperatures |
| `SIZE:ARM` | a larger student |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmarks.proving_ground.pipeline import FIRST_ANSWERS, Pipeline, Pupil
from benchmarks.proving_ground.scales import Stage
from benchmarks.proving_ground.steps import Step

DEFAULT_K = 10
_ENOUGH = 1000  # epochs: a stage ends by its steps


@dataclass(frozen=True)
class Arm:
    """One thing that was tried: a trained model and its exam per training seed."""

    name: str
    pupils: tuple[Pupil, ...]
    exams: tuple[Step, ...]


class Arms:
    """Builds the steps of all arms; asking for one builds what it needs."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._line, self._scale = pipeline, pipeline.scale

    def headline(self) -> dict[str, Arm]:
        """The arms of the claim."""
        makers: dict[str, Callable[[int], Pupil]] = {
            "before": self._base,
            "sft": self._sft,
            "sft+kd": self._kd,
        }
        return self._build(makers, self._scale.training_seeds)

    def equal_steps(self) -> dict[str, Arm]:
        """The same number of steps without a teacher, and without its probabilities."""
        makers: dict[str, Callable[[int], Pupil]] = {
            "sft+sft": self._sft_again,
            "lessons": self._lessons,
            "lessons+lessons": self._lessons_again,
        }
        return self._build(makers, self._scale.training_seeds)

    def all(self) -> dict[str, Arm]:
        """The headline's arms, the controls of equal steps, and the other controls and sweeps."""
        scale = self._scale
        makers: dict[str, Callable[[int], Pupil]] = {
            "sft-unverified": self._sft_unverified,
            "sft-matched": self._sft_matched,
            "kd-only": self._kd_only,
            "sft+kd:fused": self._kd_fused,
        }
        for objective in ("renorm", "label_tail", "sampled"):
            makers[f"sft+kd:{objective}"] = self._with(objective=objective)
        for teacher in list(scale.teachers)[:-1]:
            makers[f"sft+kd:teacher-{teacher}"] = self._with(teachers=[teacher])
        for k in scale.ks:
            if k != DEFAULT_K:
                makers[f"sft+kd:k-{k}"] = self._with(k=k)
        for size in scale.data_sizes:
            if size < scale.seeds:
                makers[f"sft+kd:data-{size}"] = self._with(samples=size)
        for alpha in scale.alphas:
            if alpha != scale.alpha:
                makers[f"sft+kd:alpha-{alpha:g}"] = self._with(alpha=alpha)
        for temperature in scale.temperatures:
            if temperature != 1:
                makers[f"sft+kd:temperature-{temperature:g}"] = self._with(temperature=temperature)
        for student in list(scale.students)[1:]:
            makers[f"{student}:before"] = self._of(self._base, student)
            makers[f"{student}:sft"] = self._of(self._sft, student)
            makers[f"{student}:sft+kd"] = self._of(self._kd, student)
        swept = self._build(makers, self._scale.sweep_seeds)
        return {**self.headline(), **self.equal_steps(), **swept}

    def teachers(self) -> dict[str, Step]:
        """The teachers' own exams."""
        return {name: self._line.exam(self.teacher(name)) for name in self._scale.teachers}

    def _build(self, makers: Mapping[str, Callable[[int], Pupil]], seeds: int) -> dict[str, Arm]:
        arms = {}
        for name, make in makers.items():
            pupils = tuple(make(seed) for seed in range(seeds))
            arms[name] = Arm(name, pupils, tuple(self._line.exam(each) for each in pupils))
        return arms

    def _with(self, **changes: Any) -> Callable[[int], Pupil]:
        return lambda seed: self._kd(seed, **changes)

    def _of(self, make: Callable[..., Pupil], student: str) -> Callable[[int], Pupil]:
        return lambda seed: make(seed, student=student)

    def teacher(self, name: str | None = None) -> Pupil:
        """A teacher, trained from scratch on the whole school."""
        name = name or self._scale.teacher
        return self._line.trained(
            f"teacher-{name}",
            self._line.lessons(self._scale.school),
            self._line.untrained(f"teacher-{name}"),
            self._stage("sft", 0, epochs=self._scale.teacher_epochs, learning_rate=3e-3),
            ranks=2,
        )

    @cached_property
    def answers(self) -> Step:
        """The corpus: the largest teacher's answers, those found right marked as accepted."""
        return self._line.answers(self.teacher(), self._scale.seeds)

    def _base(self, seed: int, student: str | None = None) -> Pupil:
        student = student or self._scale.student
        return self._line.trained(
            f"base-{student}",
            self._line.lessons(self._scale.base),
            self._line.untrained(f"student-{student}"),
            self._stage("sft", seed, self._scale.base_steps, learning_rate=4e-3),
        )

    def _sft(self, seed: int, student: str | None = None) -> Pupil:
        stage = self._stage("sft", seed, self._scale.sft_steps)
        return self._line.trained("sft", self.answers, self._base(seed, student), stage)

    def _sft_again(self, seed: int) -> Pupil:
        stage = self._stage("more", seed + 100, self._scale.kd_steps)
        return self._line.trained("sft-again", self.answers, self._sft(seed), stage)

    def _lessons(self, seed: int) -> Pupil:
        stage = self._stage("sft", seed, self._scale.sft_steps)
        own = self._line.lessons(self._scale.base)
        return self._line.trained("lessons-more", own, self._base(seed), stage)

    def _lessons_again(self, seed: int) -> Pupil:
        stage = self._stage("more", seed + 100, self._scale.kd_steps)
        own = self._line.lessons(self._scale.base)
        return self._line.trained("lessons-again", own, self._lessons(seed), stage)

    def _sft_matched(self, seed: int) -> Pupil:
        stage = self._stage("sft", seed, self._scale.sft_steps)
        matched = self._line.matched(self.answers)
        return self._line.trained(
            "sft-matched", matched, self._base(seed), stage, export=FIRST_ANSWERS
        )

    def _sft_unverified(self, seed: int) -> Pupil:
        stage = self._stage("sft", seed, self._scale.sft_steps)
        return self._line.trained(
            "sft-unverified", self.answers, self._base(seed), stage, export=FIRST_ANSWERS
        )

    def _kd_only(self, seed: int) -> Pupil:
        steps = self._scale.sft_steps + self._scale.kd_steps
        return self._distilled("kd-only", seed, self._base(seed), steps=steps)

    def _kd_fused(self, seed: int) -> Pupil:
        two = list(self._scale.teachers)[-2:]
        return self._distilled("kd-fused", seed, self._sft(seed), teachers=two)

    def _kd(self, seed: int, student: str | None = None, **changes: Any) -> Pupil:
        return self._distilled("kd", seed, self._sft(seed, student), **changes)

    def _distilled(
        self,
        name: str,
        seed: int,
        start: Pupil,
        *,
        objective: str = "tail_bucket",
        teachers: list[str] | None = None,
        k: int = DEFAULT_K,
        samples: int | None = None,
        steps: int | None = None,
        alpha: float | None = None,
        temperature: float = 1,
    ) -> Pupil:
        scale = self._scale
        named = {each: self.teacher(each) for each in teachers or [scale.teacher]}
        sampled = objective == "sampled"
        capture: dict[str, Any] = {"sampled": 4 * k} if sampled else {"k": k}
        corpus = self.answers if samples is None else self._line.subset(self.answers, samples)
        stage = {
            **self._stage("kd", seed + 100, steps or scale.kd_steps),
            "kind": "kd",
            "objective": objective,
            "alpha": scale.alpha if alpha is None else alpha,
        }
        if temperature != 1:
            capture["temperatures"] = [1.0, temperature]
            stage["temperature"] = temperature
        rows = self._line.captured(
            self.answers, self._line.untrained(self._smallest), named, capture
        )
        return self._line.trained(
            name, corpus, start, stage, rows=rows, teachers=named, capture=capture
        )

    @property
    def _smallest(self) -> str:
        return f"student-{self._scale.student}"

    def _stage(
        self, name: str, seed: int, steps: int | None = None, *,
        epochs: int = _ENOUGH, learning_rate: float = 2e-3,
    ) -> Stage:  # fmt: skip
        return {
            "name": name,
            "kind": "sft",
            "epochs": epochs,
            **({} if steps is None else {"max_steps": steps}),
            "samples_per_step": self._scale.samples_per_step,
            "learning_rate": learning_rate,
            "betas": [0.9, 0.95],
            "weight_decay": 0.01,
            "warmup": 0.05,
            "seed": seed,
        }
