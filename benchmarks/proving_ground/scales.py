"""How large everything is: on a laptop, in CI, on a GPU.

Sizes, counts and learning rates of one run of the proving ground. `HEADLINE` is what the report is
about; `SMOKE` only shows that every part works together; `GPU` is the same at larger sizes, and has
not been run yet: no GPU was at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from benchmarks.proving_ground.models import Size
from benchmarks.proving_ground.world.draw import FAMILIES
from benchmarks.proving_ground.world.family import LEVELS

Stage = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """See the module. Counts are of problems, steps of `samples_per_step` samples each.

    `training_seeds` is how often each arm of the headline and each control of equal steps is
    trained, `sweep_seeds` each of the others: the first so many seeds.
    """

    name: str
    school: int
    base: int
    seeds: int
    exam: int
    vocabulary: int
    teachers: dict[str, Size]
    students: dict[str, Size]
    training_seeds: int
    sweep_seeds: int
    teacher_epochs: int
    base_steps: int
    sft_steps: int
    kd_steps: int
    samples_per_step: int = 16
    world_seed: int = 0
    alpha: float = 0.9
    data_sizes: tuple[int, ...] = ()
    ks: tuple[int, ...] = ()
    alphas: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = ()
    families: tuple[str, ...] = (*FAMILIES,)
    levels: tuple[int, ...] = LEVELS
    on_gpu: bool = False

    def with_seeds(self, most: int | None) -> Scale:
        """The same, with at most so many training seeds for each arm; as it is without a number."""
        if most is None:
            return self
        fewer = {name: min(getattr(self, name), most) for name in ("training_seeds", "sweep_seeds")}
        return replace(self, **fewer)

    @property
    def teacher(self) -> str:
        """The largest teacher: the one that answers and is captured."""
        return list(self.teachers)[-1]

    @property
    def student(self) -> str:
        """The smallest student: the one that the claim is about."""
        return next(iter(self.students))

    @property
    def sizes(self) -> dict[str, Size]:
        """Every model by name."""
        named = {f"teacher-{name}": size for name, size in self.teachers.items()}
        return {**named, **{f"student-{name}": size for name, size in self.students.items()}}


_TEACHERS = {"s": Size(64, 2), "m": Size(96, 3), "l": Size(128, 4)}
_STUDENTS = {"xs": Size(32, 2), "s": Size(64, 2)}

HEADLINE = Scale(
    name="headline",
    school=32_000,
    base=1500,
    seeds=8000,
    exam=960,
    vocabulary=1536,
    teachers=_TEACHERS,
    students=_STUDENTS,
    training_seeds=10,
    sweep_seeds=5,
    teacher_epochs=8,
    base_steps=1500,
    sft_steps=2000,
    kd_steps=2000,
    data_sizes=(1000, 2000, 4000, 8000),
    ks=(1, 5, 10, 20),
    alphas=(0.5, 0.9, 1.0),
    temperatures=(1.0, 2.0),
)
SMOKE = Scale(
    name="smoke",
    school=960,
    base=240,
    seeds=96,
    exam=48,
    vocabulary=512,
    teachers={"l": Size(64, 2)},
    students={"xs": Size(32, 1)},
    training_seeds=1,
    sweep_seeds=1,
    teacher_epochs=10,
    base_steps=60,
    sft_steps=30,
    kd_steps=30,
    families=("records",),
    levels=(1,),
)
GPU = Scale(
    name="gpu",
    school=200_000,
    base=4000,
    seeds=40_000,
    exam=1920,
    vocabulary=1536,
    teachers={"s": Size(128, 4), "m": Size(256, 6), "l": Size(512, 8)},
    students={"xs": Size(64, 2), "s": Size(128, 4)},
    training_seeds=10,
    sweep_seeds=5,
    teacher_epochs=8,
    base_steps=1500,
    sft_steps=4000,
    kd_steps=4000,
    samples_per_step=64,
    data_sizes=(5000, 10_000, 20_000, 40_000),
    ks=(1, 5, 10, 20),
    alphas=(0.5, 0.9, 1.0),
    temperatures=(1.0, 2.0),
    on_gpu=True,
)
SCALES = {scale.name: scale for scale in (HEADLINE, SMOKE, GPU)}
