"""The peak that MFU is measured by is the device's own, told from the name that CUDA gives it."""

from __future__ import annotations

import pytest

from training.engine.speed import peak_of
from training.plan.gpus import GPUS


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA H800", 989),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A800-SXM4-80GB", 312),
    ],
)
def test_a_card_has_the_peak_of_its_own_form(name: str, teraflops: int) -> None:
    assert peak_of(name) == teraflops * 1e12


@pytest.mark.parametrize(
    "name", ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA H20", "NVIDIA A10", "NVIDIA L40S"]
)
def test_a_device_that_is_not_known_has_none(name: str) -> None:
    assert peak_of(name) is None


def test_a_plan_and_a_run_reckon_with_the_same_peaks() -> None:
    for gpu in GPUS:
        assert peak_of(f"NVIDIA {gpu.key}") == gpu.peak
