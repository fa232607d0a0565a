"""How a recipe is read, whoever owns its settings: YAML, `--set key=value`, clear refusals.

In: a file (or a folder with `recipe.yaml`) and overrides. Out: a plain document for a pydantic
model to check. A credential in a recipe is refused; an unknown key names the nearest known one.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from common.credentials import holds_password, looks_like_credential, names_credential
from common.errors import StillhouseError


class RecipeError(StillhouseError):
    """The recipe cannot be used as it stands."""

    code = "recipe"


def read_document(
    path: str | Path, overrides: Sequence[str] = (), *, begin: str, example: str | None = None
) -> tuple[Path, dict[str, Any]]:
    """The recipe's file and its document with `overrides` (`a.b.c=value`, YAML values) laid over.

    `begin` says with which keys such a recipe begins, `example` names a command that has one.
    """
    file = _find(Path(path), example)
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"The recipe {file} cannot be read.",
            cause=error.strerror or str(error),
            solution="Check that it is a file and that you may read it.",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"The recipe {file} is not valid YAML.",
            cause=str(error),
            solution="Correct the file; the position is given above.",
        ) from error
    if not isinstance(document, dict):
        raise RecipeError(
            f"The recipe {file} holds no settings.",
            cause="Its top level is not a mapping of keys.",
            solution=f"Begin with {begin}.",
        )
    for override in overrides:
        overlay(document, override)
    return file, document


def _find(path: Path, example: str | None) -> Path:
    file = path / "recipe.yaml" if path.is_dir() else path
    if not file.is_file():
        raise RecipeError(
            f"There is no recipe at '{path}'.",
            cause=f"{file} does not exist.",
            solution="Give a YAML file, or a folder that holds recipe.yaml.",
            command=example,
        )
    return file


def overlay(document: dict[str, Any], override: str) -> None:
    """Lays one `a.b.c=value` (a YAML value) over a recipe's document, in place."""
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise RecipeError(
            f"'--set {override}' is not of the form key=value.",
            cause="There is no '=' with a key before it.",
            solution="Write, for example, --set agents.verification.teacher=api",
        )
    *parents, last = key.strip().split(".")
    place: Any = document
    for parent in parents:
        place = _into(place, parent, override)
    try:
        read = yaml.safe_load(value) if value else None
    except yaml.YAMLError as error:
        raise RecipeError(
            f"'--set {override}' gives a value that is not valid YAML.",
            cause=str(error),
            solution="Close every bracket and quotation mark; in a shell, quote the whole "
            "key=value.",
        ) from error
    if isinstance(place, list):
        place[_position(place, last, override)] = read
    else:
        place[last] = read


def _into(place: Any, part: str, override: str) -> Any:
    """The section or list under `part`; a section that is not there is made."""
    if isinstance(place, list):
        inner = place[_position(place, part, override)]
    else:
        inner = place[part] = {} if place.get(part) is None else place[part]
    if not isinstance(inner, dict | list):
        raise RecipeError(
            f"'--set {override}' leads into '{part}', which is not a section.",
            cause=f"'{part}' holds the value {inner!r}.",
            solution="Set that key itself, or correct the path.",
        )
    return inner


def _position(items: list[Any], part: str, override: str) -> int:
    """Where a list's item stands: by its number from 0, or by the `name` that it has."""
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if part in names:
        return names.index(part)
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    known = ", ".join(str(name) for name in names if name is not None)
    raise RecipeError(
        f"'--set {override}' names '{part}' in a list that has no such item.",
        cause=f"It has {len(items)} items" + (f", by name {known}." if known else "."),
        solution="Give an item's name, or its number counted from 0.",
    )


def beside(path: str, folder: Path) -> str:
    """A path that a recipe in `folder` gives; an absolute one and a hub's (`hf:…`) stay."""
    if path.startswith("hf:") or Path(path).is_absolute():
        return path
    return os.path.normpath(folder / path)


def refuse_credentials(value: Any, file: Path, *place: str) -> None:
    """A recipe's text goes into the corpus, so a key that someone wrote into it may not pass."""
    if isinstance(value, str):
        named = any(names_credential(part) for part in (*place[-1:], *_argument_before(value)))
        shaped = looks_like_credential(value) or holds_password(value)
        if value and place[-1:] != ("api_key_env",) and (named or shaped):
            raise RecipeError(
                f"The recipe {file} holds a credential: {'.'.join(place)}.",
                cause="Recipes are kept in the corpus and shown, so no key or password may stand "
                "in one.",
                solution="Put it into an environment variable; a teacher names its key's variable "
                "under api_key_env, a managed server inherits the whole environment, PostgreSQL "
                "reads PGPASSWORD or ~/.pgpass.",
            )
    elif isinstance(value, dict):
        for key, item in value.items():
            refuse_credentials(item, file, *place, str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            refuse_credentials(item, file, *place, str(number))


def _argument_before(text: str) -> tuple[str, ...]:
    """The name of a command-line argument such as `--hf-token`, as it stands in a list of them."""
    return (text,) if text.startswith("--") else ()


def explain(
    error: ValidationError,
    file: Path,
    model: type[BaseModel],
    *,
    tags: Collection[str] = (),
    free_keys: Collection[str] = (),
) -> RecipeError:
    """The first fault that pydantic found, in words.

    `tags` are the discriminators of unions, which stand in a fault's place but not in the file;
    `free_keys` are the keys that a mapping without a model of its own may have.
    """
    # A misspelt key often also leaves a required one missing; the misspelling is the cause.
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"] if part not in tags)
    if first["type"] == "extra_forbidden":
        wrong = str(first["loc"][-1])
        known = sorted(_keys_beside(model, first["loc"], free_keys))
        nearest = difflib.get_close_matches(wrong, known, n=1, cutoff=0.4)
        hint = f"Did you mean '{nearest[0]}'? " if nearest else ""
        return RecipeError(
            f"The recipe {file} has an unknown key: {where}.",
            cause=f"No setting is called '{wrong}' there.",
            solution=f"{hint}Known here: {', '.join(known)}.",
        )
    count = len(error.errors())
    more = f" ({count - 1} more after this one)" if count > 1 else ""
    return RecipeError(
        f"The recipe {file} has a value that cannot be used: {where or 'the whole'}{more}.",
        cause=str(first["msg"]).removeprefix("Value error, "),
        solution=f"Correct it{_as_read(first)}.",
    )


def _as_read(fault: ErrorDetails) -> str:
    """The value at fault, unless it is a whole section or may hold a key."""
    value, place = fault.get("input"), fault["loc"]
    if isinstance(value, dict | list) or (place and place[-1] in ("base_url", "api_key_env")):
        return ""
    return f"; what was read: {str(value)[:120]!r}"


def _keys_beside(
    model: type[BaseModel], location: tuple[int | str, ...], free_keys: Collection[str]
) -> set[str]:
    inner: Any = model
    for part in location[:-1]:
        inner = _inner(inner, part)
        if inner is None:
            return set(free_keys)
    return set(inner.model_fields) if hasattr(inner, "model_fields") else set(free_keys)


def _inner(annotation: Any, part: int | str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if part in annotation.model_fields:
            return _single_model(annotation.model_fields[str(part)].annotation)
        return annotation
    for candidate in annotation if isinstance(annotation, tuple) else ():
        kind = candidate.model_fields["kind"].annotation
        if part in get_args(kind):
            return candidate
    return annotation


def _single_model(annotation: Any) -> Any:
    models = list(_models_in(annotation))
    if len(models) == 1:
        return models[0]
    return tuple(models) if models else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _models_in(argument)
