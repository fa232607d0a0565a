"""Prompts as data: `prompts/<agent>/<name>.md`, YAML front matter and a Jinja2 body.

In: a folder of prompt files. Out: `Prompt` objects that render messages. A file's bytes are its
identity (`hash`), `agent/name@version` its label. Rendering is strict: a variable that is missing,
or used without being declared under `inputs`, is an error that names the file and the variable.

A prompt may come from a form or from somebody else's corpus, so it is filled in within Jinja's
sandbox: it has its inputs and nothing else of this process, and cannot multiply what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import meta
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import StillhouseError
from common.hashing import digest_text
from teachers.types import Message

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n(.*)\Z", re.DOTALL)


class PromptError(StillhouseError):
    """A prompt file cannot be used."""

    code = "prompt"


class PromptVariableMissing(PromptError):
    """A prompt asks for a variable that nobody gives it."""

    code = "prompt_variable"


class FrontMatter(BaseModel):
    """What stands at the top of a prompt file."""

    model_config = ConfigDict(extra="forbid")

    name: str
    version: int
    purpose: str
    inputs: list[str]
    output: str = "text"
    references: list[str] = []
    system: str | None = None


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt filled in, with the identity of the file it came from."""

    name: str
    version: str
    hash: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Prompt:
    """One prompt file: `name` is `agent/file`, `hash` identifies its bytes."""

    name: str
    path: Path
    text: str
    matter: FrontMatter
    body: str

    @property
    def version(self) -> str:
        """The version its author gave it."""
        return str(self.matter.version)

    @property
    def label(self) -> str:
        """`agent/name@version`."""
        return f"{self.name}@{self.version}"

    @cached_property
    def hash(self) -> str:
        """32 hexadecimal digits over the file's text."""
        return digest_text(self.text)

    @cached_property
    def _templates(self) -> tuple[jinja2.Template | None, jinja2.Template]:
        system = self.matter.system
        return (
            _ENVIRONMENT.from_string(system) if system else None,
            _ENVIRONMENT.from_string(self.body),
        )

    def render(self, variables: Mapping[str, Any]) -> RenderedPrompt:
        """Fills the prompt in; every declared input must be among `variables`."""
        system, body = self._templates
        try:
            messages = [Message("user", body.render(variables).strip())]
            if system is not None:
                messages.insert(0, Message("system", system.render(variables).strip()))
        except jinja2.UndefinedError as error:
            raise PromptVariableMissing(
                f"The prompt '{self.name}' could not be filled in.",
                cause=f"{self.path}: {error.message}.",
                solution="Use only the inputs that the agent gives: "
                f"{', '.join(sorted(variables))}.",
                command=f"stillhouse prompts show {self.name}",
            ) from error
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise PromptError(
                f"The prompt '{self.name}' could not be filled in.",
                cause=f"{self.path}: {error}",
                solution="Correct the template: it may use its inputs, Jinja's filters and tests.",
                command=f"stillhouse prompts show {self.name}",
            ) from error
        return RenderedPrompt(self.name, self.version, self.hash, tuple(messages))


class _Environment(ImmutableSandboxedEnvironment):
    """Nothing global (no `range`), no attribute that is Python's own, no text times a number."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Only numbers are multiplied."""
        if operator == "**" or not all(isinstance(each, int | float) for each in (left, right)):
            raise SecurityError(f"'{operator}' is not for prompts")
        return super().call_binop(context, operator, left, right)


_ENVIRONMENT = _Environment(
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals.clear()


def parse_prompt(name: str, path: Path, text: str) -> Prompt:
    """Reads one prompt file's text; errors name the file and what is wrong with it."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        raise PromptError(
            f"The prompt file {path} has no front matter.",
            cause="It does not begin with a YAML block between two lines of '---'.",
            solution="Begin it with name, version, purpose and inputs, as the other prompts do.",
        )
    try:
        matter = FrontMatter.model_validate(yaml.safe_load(match[1]))
    except (ValidationError, yaml.YAMLError) as error:
        raise PromptError(
            f"The front matter of {path} cannot be read.",
            cause=str(error),
            solution="Give name, version, purpose and inputs; output, references and system may "
            "follow.",
        ) from error
    body = match[2]
    try:
        used = meta.find_undeclared_variables(_ENVIRONMENT.parse(body))
        used |= meta.find_undeclared_variables(_ENVIRONMENT.parse(matter.system or ""))
        _ENVIRONMENT.from_string(f"{matter.system or ''}{body}")
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(
            f"The template in {path} cannot be read.",
            cause=f"Line {error.lineno} of the body: {error.message}",
            solution="Correct the Jinja2 syntax.",
        ) from error
    except (SyntaxError, RecursionError, OverflowError, jinja2.TemplateError) as error:
        raise PromptError(
            f"The template in {path} cannot be read.",
            cause=f"It is nested too deeply, or holds what Jinja cannot compile: {error}.",
            solution="Make it simpler.",
        ) from error
    undeclared = sorted(used - set(matter.inputs))
    if undeclared:
        raise PromptVariableMissing(
            f"The prompt '{name}' uses undeclared variables: {', '.join(undeclared)}.",
            cause=f"{path} lists under inputs: {', '.join(matter.inputs)}.",
            solution="Add it to inputs if the agent gives it; otherwise correct its spelling.",
            command=f"stillhouse prompts show {name}",
        )
    return Prompt(name, path, text, matter, body)


class PromptLibrary:
    """Every prompt below a folder, read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prompts: dict[str, Prompt] = {}

    def names(self) -> list[str]:
        """`agent/name` of every prompt file, sorted."""
        return sorted(
            path.relative_to(self.folder).with_suffix("").as_posix()
            for path in self.folder.glob("*/*.md")
        )

    def get(self, name: str) -> Prompt:
        """The prompt `agent/name`; unknown names list the known ones."""
        prompt = self._prompts.get(name)
        if prompt is None:
            path = self.folder / f"{name}.md"
            try:
                text = path.read_text(encoding="utf-8")
            except FileNotFoundError as error:
                raise PromptError(
                    f"There is no prompt '{name}'.",
                    cause=f"{path} does not exist.",
                    solution=f"Known prompts: {', '.join(self.names())}.",
                    command="stillhouse prompts list",
                ) from error
            prompt = self._prompts[name] = parse_prompt(name, path, text)
        return prompt
