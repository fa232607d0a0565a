"""The prompt of SQL completion: `prompts/evaluation/sql_completion.jinja`, filled in.

The form is that of the factory's prompts: YAML front matter, then a Jinja2 body where a missing
variable is an error. The file's hash stands in the evaluation's settings, so an edited prompt is
another evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import jinja2
import yaml

from common.hashing import digest_text
from common.paths import prompts_folder
from evaluation.sql.errors import SqlBenchmarkError
from teachers.types import Message

NAME = "evaluation/sql_completion"
_BROKEN = (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, jinja2.TemplateError)


@dataclass(frozen=True, slots=True)
class CompletionPrompt:
    """The prompt file as read: its label (`name@version`), hash, and what it is made of."""

    label: str
    hash: str
    system: str
    body: jinja2.Template

    def messages(self, *, dialect: str, schema: str, question: str, typed: str) -> list[Message]:
        """The conversation for one item."""
        text = self.body.render(dialect=dialect, schema=schema, question=question, typed=typed)
        return [Message("system", self.system), Message("user", text.strip())]


def completion_prompt() -> CompletionPrompt:
    """Reads the file.

    Raises:
        SqlBenchmarkError: it is not there or has lost its form.
    """
    path = prompts_folder() / f"{NAME}.jinja"
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    try:
        text = path.read_text(encoding="utf-8")
        _, front, body = text.split("---\n", 2)
        matter = yaml.safe_load(front)
        label = f"{NAME}@{matter['version']}"
        made = environment.from_string(body)
        return CompletionPrompt(label, digest_text(text), str(matter["system"]).strip(), made)
    except _BROKEN as error:
        raise SqlBenchmarkError(
            f"The prompt {NAME}.jinja cannot be used.",
            cause=str(error) or type(error).__name__,
            solution="Restore it from the repository; it needs `version` and `system`.",
        ) from error
