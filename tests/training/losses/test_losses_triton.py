"""The Triton kernel without a GPU: its interpreter runs the losses' tests, its compiler the rest.

Where a GPU is, those tests themselves run every case through the kernel.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.losses.objective import BUCKETED, NAMES

pytest.importorskip("triton", reason="Triton comes with CUDA builds of torch")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "least"), [("fused", 300), ("properties", 150)])
def test_the_kernel_passes_the_same_tests_in_tritons_interpreter(file: str, least: int) -> None:
    tests = Path(__file__).with_name(f"test_losses_{file}.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "triton",
         str(tests)],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= least


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_compiles_for_hopper_without_a_device(name: str) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from training.losses.triton_kernels import _sweep_row

    constants = {
        "OBJECTIVE": name,
        "BUCKETS": name in BUCKETED,
        "TEMPERED": name in BUCKETED,
        "WANT_GRADIENT": True,
        "M": 0 if name == "ce" else 2,
        "BLOCK_E": 32,
        "BLOCK_V": 8192,
    }
    pointers = {"logits": "*bf16", "ids": "*i64", "label_at": "*i64", "first_at": "*i64"}
    pointers |= dict.fromkeys(("log_ps", "log_tails", "weights", "results"), "*fp32")
    numbers = ("ce_factor", "kd_factor", "kd_gradient_factor", "inverse_t", "beta")
    arguments = list(_sweep_row.arg_names)
    signature = dict.fromkeys(arguments, "i32") | dict.fromkeys(constants, "constexpr")
    signature |= pointers | dict.fromkeys(numbers, "fp32")
    source = ASTSource(
        fn=_sweep_row,
        signature=signature,
        constexprs={(arguments.index(key),): value for key, value in constants.items()},
    )
    kernel = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 16})
    assert "st.global" in kernel.asm["ptx"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_cuda_tensor_goes_through_the_kernel_by_itself() -> None:
    from training.losses import triton_kernels
    from training.losses.fused import fused_linear_loss
    from training.losses.objective import Objective

    hidden_NH = torch.randn(4, 16, device="cuda", requires_grad=True)
    weight_VH = torch.randn(64, 16, device="cuda")
    label_N = torch.arange(4, device="cuda")
    calls = 0
    sweep = triton_kernels.sweep

    def counted(*args: object, **settings: object) -> object:
        nonlocal calls
        calls += 1
        return sweep(*args, **settings)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_kernels, "sweep", counted)
        fused_linear_loss(
            hidden_NH, weight_VH, label_N, [], Objective("ce"), workspace_bytes=1 << 20
        )
    assert calls == 1
