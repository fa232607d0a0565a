"""The smallest sensible value that a JSON Schema accepts.

In: a schema as pydantic and the structured-output servers write it: types, enums, constants,
required properties, `$defs`, unions, bounds on numbers, strings and arrays. Out: a value. `pattern`
is not generated from: a string that needs one gets the schema's own example or default, if any.
"""

from __future__ import annotations

import math
from typing import Any

_WORD = "simulated"
_MAX_DEPTH = 12
_FORMATS = {
    "date": "2024-01-01",
    "date-time": "2024-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "simulated@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


class Unsatisfiable(ValueError):
    """No value can be made: the schema forbids everything, or never stops nesting."""


def instance(schema: Any, root: dict[str, Any] | None = None, depth: int = 0) -> Any:
    """A value that `schema` accepts; references are looked up in `root`.

    Raises:
        Unsatisfiable: when there is none, or none of finite depth.
    """
    if schema is True or schema == {}:
        return _WORD
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        raise Unsatisfiable("no value")
    root = schema if root is None else root
    if "$ref" in schema:
        return instance(_resolve(schema["$ref"], root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return _first_possible(schema, schema[union], root, depth)
    if schema.get("allOf"):
        return instance(_merged(schema, root), root, depth + 1)
    if "pattern" in schema and ("default" in schema or schema.get("examples")):
        return schema.get("default", (schema.get("examples") or [None])[0])
    return _typed(schema, root, depth)


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    value: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or part not in value:
            raise Unsatisfiable(f"no {reference}")
        value = value[part]
    return value


def _first_possible(
    schema: dict[str, Any], options: list[Any], root: dict[str, Any], depth: int
) -> Any:
    """The first option that has a value; null only when nothing else is possible."""
    base = {k: v for k, v in schema.items() if k not in ("anyOf", "oneOf")}
    by_preference = sorted(options, key=lambda o: isinstance(o, dict) and o.get("type") == "null")
    for option in by_preference:
        try:
            combined = {**base, **option} if isinstance(option, dict) else option
            return instance(combined, root, depth + 1)
        except Unsatisfiable:
            continue
    raise Unsatisfiable("no option of the union")


def _merged(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
    for part in schema["allOf"]:
        while isinstance(part, dict) and "$ref" in part:
            part = _resolve(part["$ref"], root)
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged.update(part)
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = required
    return merged


def _typed(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, root, depth)
    if kind == "array":
        return _array(schema, root, depth)
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return _string(schema)


def _object(schema: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    made = {
        name: instance(properties[name], root, depth + 1) for name in properties if name in required
    }
    extra = schema.get("additionalProperties", True)
    for number in range(schema.get("minProperties", 0) - len(made)):
        made[f"{_WORD}_{number}"] = instance(extra, root, depth + 1)
    for name in required:
        if name not in made:
            made[name] = instance(extra, root, depth + 1)
    return made


def _array(schema: dict[str, Any], root: dict[str, Any], depth: int) -> list[Any]:
    first = schema.get("prefixItems") or []
    length = max(schema.get("minItems", 0), len(first))
    length = min(length, schema.get("maxItems", length))
    items = schema.get("items", True)
    made = [instance(first[n] if n < len(first) else items, root, depth + 1) for n in range(length)]
    return _distinct(made, items, root) if schema.get("uniqueItems") and length > 1 else made


def _distinct(made: list[Any], items: Any, root: dict[str, Any]) -> list[Any]:
    while isinstance(items, dict) and "$ref" in items:
        items = _resolve(items["$ref"], root)
    if isinstance(items, dict) and len(items.get("enum") or []) >= len(made):
        return list(items["enum"][: len(made)])
    if all(isinstance(value, str) for value in made):
        return [f"{value}{n}" if n else value for n, value in enumerate(made)]
    if all(type(value) in (int, float) for value in made):
        return [value + n for n, value in enumerate(made)]
    return made


def _number(schema: dict[str, Any], whole: bool) -> int | float:
    step = schema.get("multipleOf") or (1 if whole else None)
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    floor = max((bound for bound in (low, above) if bound is not None), default=None)
    ceiling = min((bound for bound in (high, below) if bound is not None), default=None)
    if floor is None:
        floor = 0 if ceiling is None or ceiling > 0 else ceiling - (step or 1)
    value: float = floor
    if step:
        value = math.ceil(floor / step) * step
    if above is not None and value <= above:
        room = ceiling - above if ceiling is not None else 2
        value += step or min(1, room / 2)
    if (high is not None and value > high) or (below is not None and value >= below):
        raise Unsatisfiable("no number between the bounds")
    return int(value) if whole else value


def _string(schema: dict[str, Any]) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    text = _WORD
    shortest = schema.get("minLength", 0)
    while len(text) < shortest:
        text += f" {_WORD}"
    longest = schema.get("maxLength")
    return text if longest is None else text[: max(longest, 0)]
