"""A teacher's identity without opening it is the one its gateway has when it is open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from teachers.budget import Budget, BudgetSettings, Spend
from teachers.config import AnyTeacher, TeacherSettings
from teachers.gateway import NoCache
from teachers.identity import TeacherIdentity, identity_of
from teachers.opening import Fleet
from teachers.simulated.server import SimulatedServer
from teachers.simulated.settings import SimulatedSettings


def settings(**values: Any) -> TeacherSettings:
    read: TeacherSettings = TypeAdapter(AnyTeacher).validate_python(values)
    return read


async def opened(teacher: TeacherSettings, folder: Path) -> TeacherIdentity:
    fleet = Fleet({"it": teacher}, Budget(BudgetSettings(), Spend()), NoCache(), folder)
    try:
        await fleet.open(["it"])
        gateway = fleet.gateways["it"]
        return TeacherIdentity(
            gateway.endpoint, gateway.model, gateway.revision, gateway.structured_mode
        )
    finally:
        await fleet.close()


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "simulated", "simulation": {"wrong_math": 0.5}},
        {"kind": "simulated", "structured": "prompt", "extra_body": {"top_k": 3}},
    ],
)
async def test_a_managed_teachers_identity_is_that_of_its_gateway(
    values: dict[str, Any], tmp_path: Path
) -> None:
    teacher = settings(**values)
    assert await identity_of("it", teacher) == await opened(teacher, tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "simulated"},
        {"kind": "openai", "model": "simulated-teacher", "revision": "r1"},
        {"kind": "openai", "model": "simulated-teacher", "extra_body": {"top_k": 3}},
        {"kind": "vllm", "model": "simulated-teacher", "structured": "json_object"},
    ],
)
async def test_the_identity_of_a_teacher_at_an_address_is_that_of_its_gateway(
    values: dict[str, Any], tmp_path: Path
) -> None:
    server = SimulatedServer(SimulatedSettings())
    url = await server.start()
    try:
        teacher = settings(**values, base_url=url)
        assert await identity_of("it", teacher) == await opened(teacher, tmp_path)
    finally:
        await server.stop()


async def test_the_identity_of_a_recording_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    teacher = settings(kind="recorded", path=str(path), model="gpt")
    path.write_text(json.dumps({"prompt": "One?", "response": "1"}) + "\n", encoding="utf-8")
    before = await identity_of("it", teacher)
    assert before == await opened(teacher, tmp_path)
    path.write_text(json.dumps({"prompt": "Two?", "response": "2"}) + "\n", encoding="utf-8")
    assert await identity_of("it", teacher) != before


async def test_a_managed_vllm_server_need_not_be_installed_to_have_an_identity(
    tmp_path: Path,
) -> None:
    teacher = settings(kind="vllm", server={"model": "hub/tiny", "executable": "nowhere"})
    identity = await identity_of("it", teacher)
    assert identity.endpoint.startswith("vllm:")
    assert identity.model == "hub/tiny"
