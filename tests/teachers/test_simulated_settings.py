"""The simulated teacher's settings: bounds, and the identity of what they make it answer."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from teachers.simulated.settings import (
    InvalidSimulatedSettings,
    SimulatedSettings,
    parse_settings,
)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"model": "simulated-other"},
        {"context_length": 64},
        {"wrong_math": 0.1},
        {"off_category": 0.1},
        {"off_language": 0.1},
        {"malformed_json": 0.1},
        {"refusal": 0.1},
        {"empty": 0.1},
        {"length_cut": 0.1},
    ],
)
def test_what_shapes_content_changes_the_identity(change: dict[str, Any]) -> None:
    assert SimulatedSettings(**change).identity() != SimulatedSettings().identity()


def test_what_only_delays_an_answer_leaves_the_identity() -> None:
    slow = SimulatedSettings(
        latency_s=1,
        stall_s=2,
        retry_after_s=3,
        server_error=0.1,
        rate_limited=0.1,
        stall=0.1,
        truncated_body=0.1,
        max_faults_in_a_row=9,
    )
    assert slow.identity() == SimulatedSettings().identity()


@pytest.mark.parametrize(
    "wrong",
    [
        {"refusal": 1.1},
        {"refusal": -0.1},
        {"refusals": 0.1},
        {"model": "gpt-4o"},
        {"server_error": 0.6, "stall": 0.6},
        {"empty": 0.6, "refusal": 0.6},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SimulatedSettings(**wrong)


def test_wrong_json_names_the_key_at_fault() -> None:
    with pytest.raises(InvalidSimulatedSettings) as caught:
        parse_settings('{"refusals": 0.1}')
    assert "refusals" in caught.value.cause
    assert "refusal" in caught.value.solution
