"""What the user writes to capture and train: corpus, student, teachers, stages, in YAML.

In: a file (or a folder with `recipe.yaml`) and `--set key=value`. Out: a `TrainRecipe`, every key
checked. Relative paths are meant from the recipe's own folder. Stages run in order, each beginning
with what the last one left (SFT, then KD: the paper's order, arXiv 2504.15027 section 3).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from common.hashing import digest
from common.recipes import explain, read_document, refuse_credentials

ObjectiveName = Literal[
    "renorm", "tail_bucket", "label_tail", "sampled", "reverse_tail", "jsd_tail"
]
Status = Literal["accepted", "rejected", "held", "failed"]
Dtype = Literal["float32", "bfloat16"]
Column = Literal["category", "language", "recipe", "difficulty"]
Momentum = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CorpusSettings(_Section):
    """Which samples: an export's manifest, and the corpus it came from.

    With `db`, the trainer also proves that the corpus still says what the manifest says, and keeps
    its runs and captures there as rows. `validation` is the share of seed families held out.
    `statuses` are those that the export may hold: whoever wants others has to say so.
    """

    manifest: str
    db: str | None = None
    validation: float = Field(default=0.02, ge=0, lt=1)
    allow_simulated: bool = False
    statuses: tuple[Status, ...] = Field(default=("accepted",), min_length=1)


class DataSettings(_Section):
    """How samples become sequences. `context` is in tokens, prompt and response together."""

    context: int = Field(default=4096, ge=8)
    too_long: Literal["drop", "truncate", "refuse"] = "drop"
    packing: bool = True


class ModelSettings(_Section):
    """A local folder, or a hub name with a revision."""

    model: str
    revision: str | None = None
    dtype: Dtype = "bfloat16"


class LoraSettings(_Section):
    """Low-rank adapters in place of all weights (arXiv 2106.09685), merged when a stage ends."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Annotated[list[str], Field(min_length=1)] | Literal["all-linear"] = "all-linear"


class StudentSettings(ModelSettings):
    """The model that is trained. `random_init` begins with fresh weights of that configuration."""

    random_init: bool = False
    gradient_checkpointing: bool = False
    lora: LoraSettings | None = None


class TeacherModelSettings(ModelSettings):
    """A teacher whose log-probabilities are captured. `tensor_parallel` is for the vllm engine."""

    engine: Literal["torch", "vllm"] = "torch"
    tensor_parallel: int = Field(default=1, ge=1)
    device: str | None = None


class CaptureSettings(_Section):
    """What is kept of a teacher: the k most probable ids, or `sampled` draws instead."""

    store: str = "captures"
    k: int = Field(default=10, ge=1, le=1024)
    temperatures: list[Annotated[float, Field(gt=0, le=100)]] = Field(default_factory=lambda: [1.0])
    sampled: int = Field(default=0, ge=0, le=1024)
    tokens_per_batch: int = Field(default=16_384, ge=16)
    rows_per_shard: int = Field(default=1_000_000, ge=1)
    vocabulary_coverage: float = Field(default=0.99, gt=0, le=1)
    seed: int = 0


class TeacherRule(_Section):
    """One teacher's part in a stage: a weight, and the samples it is meant for (SQL columns).

    `where` maps a column to the values it may have; without it the teacher is meant for all rows.
    Where several teachers are meant for one row, their weights are brought to a sum of one.
    """

    teacher: str
    weight: float = Field(default=1.0, gt=0)
    where: dict[Column, list[str | int]] = Field(default_factory=dict)


class StageSettings(_Section):
    """One stage of training. Learning rates are peaks; `warmup` and `minimum` are shares."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    kind: Literal["sft", "kd"]
    epochs: int = Field(default=3, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    samples_per_step: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-5, gt=0)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    minimum: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    clip: float = Field(default=1.0, gt=0)
    seed: int = 0
    objective: ObjectiveName = "tail_bucket"
    alpha: float = Field(default=0.9, gt=0, le=1)
    temperature: float = Field(default=1.0, gt=0, le=100)
    beta: float = Field(default=0.5, gt=0, lt=1)
    teachers: list[TeacherRule] = Field(default_factory=list)

    @model_validator(mode="after")
    def _name_is_free(self) -> StageSettings:
        if self.name in ("corpus", "plots") or ".old-" in self.name:
            raise ValueError(f"a stage cannot be called '{self.name}': a folder of ours has it")
        return self

    @model_validator(mode="after")
    def _label_is_one_teachers(self) -> StageSettings:
        if self.objective == "label_tail" and len({rule.teacher for rule in self.teachers}) > 1:
            raise ValueError(
                f"stage '{self.name}': 'label_tail' is unbiased only where the responses were "
                "drawn from the one teacher it names"
            )
        return self

    @model_validator(mode="after")
    def _kd_has_teachers(self) -> StageSettings:
        if self.kind == "kd" and not self.teachers:
            raise ValueError(f"stage '{self.name}' is KD and names no teachers")
        if self.kind == "sft" and self.teachers:
            raise ValueError(f"stage '{self.name}' is SFT; teachers belong to a KD stage")
        return self

    @property
    def _idle(self) -> tuple[str, ...]:
        """The settings that this kind of stage has no use for."""
        if self.kind == "sft":
            return ("objective", "alpha", "temperature", "beta")
        return () if self.objective == "jsd_tail" else ("beta",)

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> StageSettings:
        vain = [f"`{name}`" for name in self._idle if name in self.model_fields_set]
        if vain:
            what = "is SFT" if self.kind == "sft" else f"has objective '{self.objective}'"
            raise ValueError(
                f"stage '{self.name}' {what} and would ignore {', '.join(vain)}; leave it out"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_the_idle(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A stage that is written and read again says nothing in vain either."""
        said: dict[str, Any] = serialise(self)
        return {name: value for name, value in said.items() if name not in self._idle}


class EngineSettings(_Section):
    """How the ranks work together. `tokens_per_micro_batch` bounds the memory of one pass;
    `samples_per_micro_batch` matters where packing is off. `head_workspace_mib` bounds the loss;
    `head_accumulation` says in which dtype a 16-bit head's gradient is summed over its chunks:
    `weight`, its own, takes no memory; `float32` takes 4 bytes per weight of the head while the
    loss is computed, and rounds once instead of once per chunk."""

    ranks: int = Field(default=1, ge=1)
    zero: Literal[0, 1, 2, 3] = 2
    offload_optimizer: bool = False
    offload_parameters: bool = False
    hostfile: str | None = None
    tokens_per_micro_batch: int = Field(default=8192, ge=8)
    samples_per_micro_batch: int = Field(default=8, ge=1)
    head_workspace_mib: int = Field(default=320, ge=1)
    head_accumulation: Literal["float32", "weight"] = "weight"
    checkpoint_every: int = Field(default=200, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    validate_every: int = Field(default=200, ge=1)

    @model_validator(mode="after")
    def _offload_fits_zero(self) -> EngineSettings:
        if self.offload_optimizer and self.zero == 0:
            raise ValueError("offload_optimizer needs ZeRO: set engine.zero to 1, 2 or 3")
        if self.offload_parameters and self.zero != 3:
            raise ValueError("offload_parameters needs ZeRO 3: set engine.zero to 3")
        return self


class TrackingSettings(_Section):
    """Where metrics go besides JSONL: TensorBoard files, and MLflow or W&B where they are wanted.
    Their addresses and keys come from their own environment variables."""

    tensorboard: bool = True
    mlflow: bool = False
    wandb: bool = False


class TrainRecipe(BaseModel):
    """A whole training recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    description: str = ""
    corpus: CorpusSettings
    data: DataSettings = DataSettings()
    student: StudentSettings
    teachers: dict[str, TeacherModelSettings] = Field(default_factory=dict)
    capture: CaptureSettings = CaptureSettings()
    stages: list[StageSettings] = Field(min_length=1)
    engine: EngineSettings = EngineSettings()
    tracking: TrackingSettings = TrackingSettings()
    output: str = "trained"

    @model_validator(mode="after")
    def _stages_fit(self) -> TrainRecipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have the same name: {', '.join(names)}")
        for stage in self.stages:
            self._teachers_fit(stage)
        return self

    @model_validator(mode="after")
    def _trackers_keep_their_keys(self) -> TrainRecipe:
        if self.engine.hostfile and (self.tracking.mlflow or self.tracking.wandb):
            raise ValueError(
                "MLflow and W&B are not served on several hosts: the launcher would show their "
                "keys in ssh's arguments; TensorBoard and metrics.jsonl are"
            )
        return self

    def _teachers_fit(self, stage: StageSettings) -> None:
        for rule in stage.teachers:
            if "difficulty" in rule.where and self.corpus.db is None:
                raise ValueError(
                    f"stage '{stage.name}' chooses teachers by difficulty, which is a score in the "
                    "corpus: give `corpus.db`"
                )
            if rule.teacher not in self.teachers:
                known = ", ".join(sorted(self.teachers)) or "none"
                raise ValueError(
                    f"stage '{stage.name}' names teacher '{rule.teacher}'; teachers here: {known}"
                )
        if stage.kind != "kd":
            return
        if (stage.objective == "sampled") != (self.capture.sampled > 0):
            raise ValueError(
                f"stage '{stage.name}' has objective '{stage.objective}': `capture.sampled` is for "
                "`sampled` alone, and `sampled` needs it"
            )
        if stage.objective in ("label_tail", "sampled") and stage.temperature != 1.0:
            raise ValueError(
                f"stage '{stage.name}': '{stage.objective}' is unbiased at temperature 1 only"
            )
        wanted = {stage.temperature} - {1.0} if stage.objective != "renorm" else set()
        if not wanted <= set(self.capture.temperatures):
            raise ValueError(
                f"stage '{stage.name}' trains at temperature {stage.temperature}, which "
                "`capture.temperatures` does not list"
            )

    def text(self) -> str:
        """The recipe as resolved, for the books; it holds no secret, since none may stand in it."""
        return yaml.safe_dump(
            self.model_dump(mode="json", exclude_defaults=True), allow_unicode=True, sort_keys=False
        )

    def hash(self) -> str:
        """Identity of the resolved recipe."""
        return digest(self.model_dump(mode="json"))


def load_train_recipe(path: str | Path, overrides: Sequence[str] = ()) -> TrainRecipe:
    """Reads a training recipe, lays `overrides` (`a.b.c=value`) over it and checks it all.

    Raises:
        RecipeError: no such file, no YAML, an unknown key, or a value that cannot be.
    """
    file, document = read_document(path, overrides, begin="`name:`, `corpus:`, `student:`")
    _resolve_paths(document, file.parent)
    refuse_credentials(document, file)
    try:
        return TrainRecipe.model_validate(document)
    except ValidationError as error:
        raise explain(error, file, TrainRecipe) from error


def _resolve_paths(document: dict[str, Any], folder: Path) -> None:
    """Files and folders are meant from the recipe's folder; a hub's name stays as it is."""
    corpus = document.get("corpus")
    _beside(corpus, "manifest", folder)
    if isinstance(corpus, dict) and "://" not in str(corpus.get("db")):
        _beside(corpus, "db", folder)
    capture = document.setdefault("capture", {})
    if isinstance(capture, dict):
        capture.setdefault("store", CaptureSettings().store)
    _beside(capture, "store", folder)
    _beside(document.get("engine"), "hostfile", folder)
    document.setdefault("output", TrainRecipe.model_fields["output"].default)
    _beside(document, "output", folder)
    teachers = document.get("teachers")
    models = list(teachers.values()) if isinstance(teachers, dict) else []
    for model in (document.get("student"), *models):
        if isinstance(model, dict) and (folder / str(model.get("model"))).exists():
            _beside(model, "model", folder)


def _beside(section: Any, key: str, folder: Path) -> None:
    if isinstance(section, dict) and isinstance(section.get(key), str):
        section[key] = os.path.normpath(folder / section[key])
