"""What the simulated teacher makes of a JSON Schema it does not know is valid for that schema."""

from __future__ import annotations

import enum
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field

from teachers.simulated.schema_instance import Unsatisfiable, instance


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid")

    x: Annotated[int, Field(gt=3, le=9)]
    y: Annotated[float, Field(gt=0, lt=0.5)]
    step: Annotated[int, Field(ge=5, multiple_of=7)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=12, max_length=14)]
    kind: Literal["circle", "square"]
    colour: Colour
    points: Annotated[list[Point], Field(min_length=2)]
    corners: tuple[int, str]
    tags: Annotated[set[str], Field(min_length=3)]
    parent: Shape | None = None
    children: list[Shape]
    made: date
    id: UUID
    either: int | str
    weights: dict[str, float]
    note: str | None
    open: bool


class Tree(BaseModel):
    left: Tree | None
    right: Tree | None


def test_an_instance_of_a_nested_pydantic_schema_validates() -> None:
    made = Shape.model_validate(instance(Shape.model_json_schema()))
    assert len(made.points) == 2
    assert made.parent is None


def test_a_recursive_schema_comes_to_an_end() -> None:
    Tree.model_validate(instance(Tree.model_json_schema()))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": 5}, 5),
        ({"type": "integer", "maximum": -3}, -4),
        ({"type": "integer", "minimum": 2, "exclusiveMaximum": 4}, 2),
        ({"type": "number", "exclusiveMinimum": 1, "maximum": 2}, 1.5),
        ({"type": ["null", "boolean"]}, True),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 2, "uniqueItems": True},
            [0, 1],
        ),
        ({"type": "object"}, {}),
        ({"allOf": [{"type": "integer"}, {"minimum": 4}]}, 4),
        ({"type": "string", "maxLength": 3}, "sim"),
    ],
)
def test_bounds_are_kept(schema: dict[str, Any], expected: object) -> None:
    assert instance(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "integer", "minimum": 4, "maximum": 3},
        {"$ref": "#/$defs/missing"},
        {
            "$ref": "#/$defs/endless",
            "$defs": {
                "endless": {
                    "type": "object",
                    "properties": {"next": {"$ref": "#/$defs/endless"}},
                    "required": ["next"],
                }
            },
        },
    ],
)
def test_a_schema_without_any_value_is_refused(schema: Any) -> None:
    with pytest.raises(Unsatisfiable):
        instance(schema)
