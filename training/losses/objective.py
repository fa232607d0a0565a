"""Which loss is meant: one of the objectives of top-k distillation and its few numbers.

In: a name and its settings. Out: a frozen `Objective`, checked, which every implementation of the
loss reads (`fused`, the kernels, the dense reference). It knows no tensors and imports none.

At one row, with student q = softmax(z), teacher p, its k highest ids K and the mass p_t outside:

| name | what is taught | dKD/dz_v |
| --- | --- | --- |
| `ce` | the label alone | q_v - 1[v = y] |
| `renorm` | both sides brought to a sum of one over K | 1[K](q_v/Q - p_v/P) |
| `tail_bucket` | KL(p, q) over K and a bucket | on K q_v - p_v, else q_v(1 - p_t/q_t) |
| `label_tail` | p on K, and the label where it fell outside | q_v - w_v |
| `sampled` | distinct draws from the teacher (arXiv 2503.16870) | q_v - w_v |
| `reverse_tail` | KL(q, p) over K and the bucket | q_v(log(q_b/p_b) - KL), b the bin of v |
| `jsd_tail` | generalised Jensen-Shannon over the same bins | q_v(g_b - sum_b q_b g_b) |

with g_b = (1 - beta) log(q_b/m_b) and m = beta p + (1 - beta) q (arXiv 2306.13649, section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

ObjectiveName = Literal[
    "ce", "renorm", "tail_bucket", "label_tail", "sampled", "reverse_tail", "jsd_tail"
]
NAMES: tuple[str, ...] = get_args(ObjectiveName)
BUCKETED = frozenset({"tail_bucket", "reverse_tail", "jsd_tail"})
UNTEMPERED = frozenset({"label_tail", "sampled"})


@dataclass(frozen=True, slots=True)
class Objective:
    """A row's loss: (1 - alpha) CE + alpha T^2 sum over teachers of weight x KD; `ce`: CE alone.

    T^2 stands inside the differentiated value, so gradients keep their size as T changes (Hinton
    et al., arXiv 1503.02531, section 2). `beta` is read by `jsd_tail` only.

    `label_tail` and `sampled` are unbiased because label and draws come from the teacher at T = 1;
    E[w^(1/T)] is not p^(1/T), so neither exists at another temperature.

    Raises:
        ValueError: an unknown name, a number out of range, or `label_tail` or `sampled` at T != 1.
    """

    name: ObjectiveName = "tail_bucket"
    alpha: float = 0.9
    temperature: float = 1.0
    beta: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"no objective '{self.name}'; there are {', '.join(NAMES)}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is a share between 0 and 1, not {self.alpha}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"a temperature is a positive number, not {self.temperature}")
        if not 0 < self.beta < 1:
            raise ValueError(f"beta lies between 0 and 1, not {self.beta}")
        if self.name in UNTEMPERED and self.temperature != 1.0:
            raise ValueError(f"'{self.name}' has no meaning at T = {self.temperature}, only at 1")

    @property
    def ce_factor(self) -> float:
        """What the label's negative log-likelihood counts."""
        return 1.0 if self.name == "ce" else 1.0 - self.alpha

    @property
    def kd_factor(self) -> float:
        """What the teachers' weighted sum counts in the loss."""
        return 0.0 if self.name == "ce" else self.alpha * self.temperature**2

    @property
    def kd_gradient_factor(self) -> float:
        """The same in dL/dz, where z/T brings one factor of 1/T."""
        return self.kd_factor / self.temperature
