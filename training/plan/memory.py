"""Memory per GPU while a student trains: weights, gradients, optimizer, activations, loss head.

In: a `MemoryCase`, all of it from configurations. Out: a `Memory`, in bytes, part by part.
Model states follow ZeRO (arXiv 1910.02054, section 3 and figure 1) as DeepSpeed 0.19 keeps them for
bf16: 16-bit weights and gradients, and in 32 bits a master copy and Adam's two moments. Stage 1
shares the optimizer's states among the ranks, stage 2 the gradients too, stage 3 the weights too.
Its fixed buffers (500 million elements each, whatever the model's size) are counted.

Activations are the tensors that autograd keeps of a decoder layer (a norm keeps its input in 32
bits); attention is a fused kernel, which keeps no scores.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from training.plan.models import Shape
from training.recipe import DataSettings, EngineSettings, StudentSettings

MIB = 2**20
GIB = 2**30
# DeepSpeed's defaults (deepspeed/runtime/zero/config.py): elements.
REDUCE_BUCKET = 500_000_000
LIVE_PARAMETERS = 1_000_000_000
SUB_GROUP = 1_000_000_000
# CUDA's context, NCCL's buffers and cuBLAS's workspace. An assumption, stated with every plan.
RUNTIME = 2 * GIB


@dataclass(frozen=True, slots=True)
class MemoryCase:
    """Whatever decides a rank's memory. `tokens` is the most that one micro-batch can have."""

    shape: Shape
    ranks: int
    zero: int
    tokens: int
    bytes_per_weight: int
    head_workspace: int
    checkpointing: bool = False
    offload_optimizer: bool = False
    offload_parameters: bool = False
    adapters: int = 0
    head_in_float32: bool = False

    @classmethod
    def of(
        cls,
        shape: Shape,
        student: StudentSettings,
        engine: EngineSettings,
        data: DataSettings,
        ranks: int,
    ) -> MemoryCase:
        """The case that a recipe describes; a sample longer than a micro-batch goes in alone."""
        lora = student.lora
        return cls(
            shape=shape,
            ranks=ranks,
            zero=engine.zero,
            tokens=max(engine.tokens_per_micro_batch, data.context),
            bytes_per_weight=2 if student.dtype == "bfloat16" else 4,
            head_workspace=engine.head_workspace_mib * MIB,
            checkpointing=student.gradient_checkpointing,
            offload_optimizer=engine.offload_optimizer,
            offload_parameters=engine.offload_parameters,
            adapters=0 if lora is None else shape.adapter_parameters(lora.rank, lora.targets),
            head_in_float32=engine.head_accumulation == "float32",
        ).with_zero(engine.zero)

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        return self.adapters or self.shape.parameters

    @property
    def held(self) -> int:
        """Parameters that are held, trained or frozen."""
        return self.shape.parameters + self.adapters

    def with_zero(self, zero: int) -> MemoryCase:
        """The same at another ZeRO stage; offload that it does not know is left off."""
        return replace(
            self,
            zero=zero,
            offload_optimizer=self.offload_optimizer and zero >= 1,
            offload_parameters=self.offload_parameters and zero == 3,
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one GPU at the peak of a step's backward pass, and `host` bytes per rank.

    `update` is what the optimizer's step takes for a moment, when the activations are gone.
    """

    weights: int
    gradients: int
    optimizer: int
    buffers: int
    activations: int
    head: int
    runtime: int
    update: int
    host: int

    @property
    def peak(self) -> int:
        """The larger of the backward pass's and the optimizer step's."""
        states = self.weights + self.gradients + self.optimizer + self.runtime
        return states + max(self.buffers + self.activations + self.head, self.update)

    def as_dict(self) -> dict[str, int]:
        """All parts in bytes, `peak` included."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"peak": self.peak}


def training_memory(case: MemoryCase) -> Memory:
    """What one rank needs."""
    size, ranks = case.bytes_per_weight, case.ranks
    trained, shared = case.trained, _share(case.trained, ranks)
    optimizer_share = shared if case.zero >= 1 else trained
    # In 32 bits the weights are their own master copy where they are not cut up, or cut up alike.
    master = 0 if size == 4 and case.zero in (0, 3) else 4
    optimizer = (master + 8) * optimizer_share
    weights = size * (_share(case.held, ranks) if case.zero == 3 else case.held)
    # Under ZeRO they are summed over micro-batches in 32 bits (`engine.deepspeed_config`).
    summed = 4 if case.zero >= 1 else size
    gradients = summed * (shared if case.zero >= 2 else trained)
    host = 0
    if case.offload_optimizer:
        # The moved gradients are kept beside the states that they update.
        host = optimizer + max(gradients, 4 * shared if case.zero < 3 else 0)
        optimizer = 0
        gradients = gradients if case.zero == 1 else 0
    if case.offload_parameters:
        host += weights
        weights = 0
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        buffers=_buffers(case),
        activations=activation_bytes(case),
        head=_head(case),
        runtime=RUNTIME,
        update=0 if case.offload_optimizer else _update(case),
        host=host,
    )


def _share(elements: int, ranks: int) -> int:
    return -(-elements // ranks)


def _buffers(case: MemoryCase) -> int:
    """Reduction buckets (two where communication overlaps), and weights gathered under stage 3."""
    if case.zero == 0:
        return 0
    buckets = (2 if case.zero == 2 else 1) * REDUCE_BUCKET
    gathered = min(case.held, LIVE_PARAMETERS + case.shape.embedding) if case.zero == 3 else 0
    return case.bytes_per_weight * (buckets + gathered)


def _update(case: MemoryCase) -> int:
    """A flat 32-bit copy of the gradients for the step."""
    if case.bytes_per_weight == 4:
        return 0
    if case.zero == 0:
        return 4 * case.trained
    shared = _share(case.trained, case.ranks)
    if case.zero == 3:
        return 4 * min(shared, SUB_GROUP)
    return 4 * shared


def _head(case: MemoryCase) -> int:
    """The loss: its workspace, the rows' hidden states and their gradient, the head's gradient.

    The worst case: every token is a trained row. The head's gradient is summed over the chunks of
    rows in 32 bits, or in the weight's own type where `engine.head_accumulation` says so, and given
    on in the latter (`training.losses.fused`); a head frozen under adapters has none.
    """
    size = case.bytes_per_weight
    rows = 2 * size * case.tokens * case.shape.hidden
    summed = 4 + size if size < 4 and case.head_in_float32 else size
    gradient = 0 if case.adapters else summed * case.shape.embedding
    return case.head_workspace + rows + gradient


def activation_bytes(case: MemoryCase) -> int:
    """What autograd keeps until the backward pass, and that pass's own largest tensors."""
    shape, size, tokens = case.shape, case.bytes_per_weight, case.tokens
    layer = layer_activation_bytes(shape, size)
    final = _norm(shape.hidden, size)
    # Gradients of a gated MLP's three inner tensors, and of what enters and leaves it.
    passing = size * (3 * shape.intermediate + 2 * shape.hidden)
    if case.checkpointing:
        kept = shape.layers * size * shape.hidden + layer
    else:
        kept = shape.layers * layer
    return tokens * (kept + final + passing)


def layer_activation_bytes(shape: Shape, size: int) -> int:
    """Bytes per token that autograd keeps of one layer, with weights of `size` bytes.

    Two norms; queries, keys, values and the attention's output with its log-sum-exp in 32 bits; the
    MLP's gate before and after its activation, the other branch, and their product.
    """
    attention = size * (2 * shape.queries + 2 * shape.keys) + 4 * shape.heads
    heads = 0
    if shape.head_norms:
        heads = _norm(shape.queries, size) + _norm(shape.keys, size)
    return 2 * _norm(shape.hidden, size) + attention + heads + 4 * size * shape.intermediate


def _norm(width: int, size: int) -> int:
    """An RMS norm's input in 32 bits, its normalised and its weighted value, one factor."""
    return (4 + 2 * size) * width + 4


def teacher_memory(
    shape: Shape,
    *,
    bytes_per_weight: int,
    tokens: int,
    head_workspace: int,
    parallel: int,
    cached: bool,
) -> int:
    """Bytes per GPU for a capture's forward pass over `tokens`: nothing is kept for backward.

    `cached`: the engine keeps keys and values, as vLLM does (`torch` keeps none).
    """
    inner = 3 * shape.intermediate + 2 * shape.queries + 2 * shape.keys
    passing = tokens * bytes_per_weight * (_share(inner, parallel) + 4 * shape.hidden)
    passing += _share(tokens * shape.kv_bytes_per_token, parallel) if cached else 0
    weights = _share(bytes_per_weight * shape.parameters, parallel)
    return weights + passing + head_workspace + RUNTIME
