"""Fills a fork's prompts in before anybody is asked, in a process of bounded time and memory.

In: the prompts of a fork with what its agents would give them. Out: nothing, or why one cannot be
used. A loop within loops would otherwise hold the process that walks the fork for good.
`python -m graph.forks.trial` is that process: a line of JSON for each prompt in, its outcome out.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents import expansion, rewriting, selection, verification
from agents.expansion import Task
from agents.prompts import PromptError, PromptVariableMissing, parse_prompt
from common.paths import CHECKOUT
from graph.forks.errors import ForkRefused
from graph.forks.ground import Ground
from graph.forks.steps import STEPS, prompts_of_step

_SECONDS = 5
_PATIENCE_S = 120
_MEGABYTES = 512
# The longest context that is known takes about as many.
_MOST_CHARACTERS = 4_000_000
_TOLD = {kind.code: kind for kind in (PromptError, PromptVariableMissing)}


@dataclass(frozen=True, slots=True)
class Try:
    """One prompt with one set of values."""

    name: str
    text: str
    variables: Mapping[str, Any]


def try_prompts(ground: Ground, prompts: Mapping[str, str], edited: str | None) -> None:
    """Fills in every prompt that the fork will ask with.

    Args:
        ground: what the fork stands on; its seed's and sample's texts are filled in.
        prompts: the fork's prompts by name.
        edited: the prompt that was edited, which has to make do with what its agent gives.

    Raises:
        PromptError: the edited prompt cannot be filled in.
        ForkRefused: filling a prompt in takes too long or too much.
    """
    tries = list(_tries(ground, prompts))
    asked = "".join(json.dumps([each.name, each.text, each.variables]) + "\n" for each in tries)
    try:
        # In a session of its own: a person's Ctrl-C is not a prompt's fault.
        ended = subprocess.run(
            [sys.executable, "-m", "graph.forks.trial"],
            input=asked.encode(), capture_output=True, timeout=_PATIENCE_S,
            cwd=CHECKOUT, start_new_session=True, check=False,
        )  # fmt: skip
        said, errors = ended.stdout, ended.stderr
    except subprocess.TimeoutExpired as error:
        said, errors = error.stdout or b"", error.stderr or b""
    outcomes = [json.loads(line) for line in said.splitlines()]
    for each, outcome in zip(tries, outcomes, strict=False):
        if outcome is not None and each.name == edited:
            raise _TOLD[outcome["code"]](
                outcome["what"],
                cause=outcome["cause"],
                solution=outcome["solution"],
                command=outcome["command"],
            )
    if len(outcomes) < len(tries):
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise ForkRefused(
            f"The prompt '{tries[len(outcomes)].name}' takes too much to be filled in.",
            cause=f"It was ended after {_SECONDS} seconds of work, {_MEGABYTES:,} MB or "
            f"{_MOST_CHARACTERS:,} characters{f' ({last[0]})' if last else ''}.",
            solution="Look for loops within loops and for filters that widen a text.",
        )


def _tries(ground: Ground, prompts: Mapping[str, str]) -> Iterator[Try]:
    for step in STEPS[STEPS.index(ground.step) :]:
        for name in prompts_of_step(step, ground.recipe):
            if name in prompts:
                for variables in _given(step, ground):
                    yield Try(name, prompts[name], variables)


def _given(step: str, ground: Ground) -> list[Mapping[str, object]]:
    """What a step's prompt is given: in the first round, and in a later one."""
    row = ground.sample or ground.seed
    words = str(row["instruction"])
    answer = str((ground.sample or {}).get("response") or words)
    task = Task(
        words,
        str(row["input"] or ""),
        row["category"] or "other",
        row["language"] or "en",
        ground.seed["system"],
        ground.seed["reference"],
    )
    expanding = ground.recipe.agents.expansion
    if step == "classify":
        return [expansion.classify_variables(words, task.input)]
    if step == "expand":
        return [expansion.expand_variables(expanding, task)]
    if step == "rewrite":
        return [rewriting.rewrite_variables(task, feedback) for feedback in (None, answer)]
    if step == "respond":
        return [rewriting.respond_variables(task, feedback) for feedback in (None, answer)]
    give = selection.score_variables if step == "select" else verification.judge_variables
    return [give(task, answer, reasoning) for reasoning in (None, answer)]


def main() -> None:
    """Answers each line of the input: null, or the error of filling that prompt in."""
    _bound()
    for line in sys.stdin:
        name, text, variables = json.loads(line)
        outcome = None
        try:
            prompt = parse_prompt(name, Path(f"{name}.md"), text)
            messages = prompt.render(variables).messages
        except PromptError as error:
            parts = ("code", "what", "cause", "solution", "command")
            outcome = {part: getattr(error, part) for part in parts}
        else:
            if sum(len(message.content or "") for message in messages) > _MOST_CHARACTERS:
                sys.exit("It becomes too long")
        print(json.dumps(outcome), flush=True)  # noqa: T201 - this process's answer


def _bound() -> None:
    """From here on the process may work so long, grow by so much, and writes no core file."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime) + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + _SECONDS, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Elsewhere than on Linux the time has to do.
    if sys.platform == "linux":
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (in_use + _MEGABYTES * 1_000_000, most))


if __name__ == "__main__":
    main()
