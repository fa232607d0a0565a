"""The command line explains itself, and does so without loading what only work needs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from factory import cli, environment

MODEL_UNDER_TEST = ("--model", "--base-url", "--api-key-env", "--label", "--limit", "--db", "--set",
                    "--json")  # fmt: skip
JUDGE = ("--judge", "--judge-url", "--judge-key-env")
OPTIONS = {
    (): [
        "run", "status", "trace", "export", "export-traces", "doctor", "review", "fork",
        "inspect",
        "capture", "train", "eval", "teacher", "prompts", "db",
    ],
    ("run",): ["RECIPE", "--seeds", "--db", "--set", "--limit", "--json"],
    ("status",): ["--db", "--recipe", "--set", "--stale", "--json"],
    ("trace",): ["ID", "--db", "--full", "--json"],
    ("export",): [
        "OUT", "--db", "--recipe", "--format", "--reasoning", "--status", "--allow-simulated",
        "--terms", "--json",
    ],
    ("export-traces",): [
        "ID", "--db", "--endpoint", "--out", "--share", "--limit", "--recipe", "--status",
        "--project", "--no-content", "--json",
    ],
    ("doctor",): ["--db", "--json"],
    ("review",): ["--db", "--reviewer", "--note"],
    ("fork",): [
        "ID", "--from", "--teacher", "--prompt", "--db", "--list", "--show", "--drop", "--save",
        "--name", "--over", "--who", "--forks", "--full", "--json",
    ],
    ("inspect",): ["--db", "--host", "--port", "--token-env", "--allow-host"],
    ("capture",): ["RECIPE", "--set", "--teacher", "--json"],
    ("train",): ["plan", "sft", "kd", "all"],
    ("train", "plan"): ["RECIPE", "--set", "--samples", "--tokens-per-sample", "--response-share",
                        "--mfu", "--price", "--json"],
    ("train", "sft"): ["RECIPE", "--set", "--restart", "--json"],
    ("train", "kd"): ["RECIPE", "--set", "--restart", "--json"],
    ("train", "all"): ["RECIPE", "--set", "--restart", "--json"],
    ("eval",): ["ifeval", "alpaca", "mtbench", "sql", "show", "compare", "report"],
    ("eval", "ifeval"): ["RECIPE", *MODEL_UNDER_TEST, "--language", "--data"],
    ("eval", "alpaca"): ["RECIPE", *MODEL_UNDER_TEST, *JUDGE, "--baseline-outputs",
                         "--difficulty-file"],
    ("eval", "mtbench"): ["RECIPE", *MODEL_UNDER_TEST, *JUDGE, "--data", "--references-file"],
    ("eval", "sql"): ["RECIPE", *MODEL_UNDER_TEST, "--data"],
    ("eval", "show"): ["ID", "ITEM", "--items", "--db", "--json"],
    ("eval", "compare"): ["A B", "--benchmark", "--db", "--json"],
    ("eval", "report"): ["--output", "--before", "--after", "--teacher", "--size", "--series",
                         "--proving-ground", "--db", "--json"],
    ("teacher",): ["check", "simulate"],
    ("teacher", "check"): ["NAME", "--recipe", "--set", "--json"],
    ("teacher", "simulate"): ["--port", "--set"],
    ("prompts",): ["list", "show", "diff"],
    ("prompts", "list"): ["--json"],
    ("prompts", "show"): ["NAME"],
    ("prompts", "diff"): ["NAME", "--db"],
    ("db",): ["upgrade"],
    ("db", "upgrade"): ["--db"],
}  # fmt: skip
HEAVY = ("langgraph", "langchain_core", "langchain_openai", "sqlalchemy", "sqlmodel", "pydantic",
         "alembic", "aiohttp", "jinja2", "yaml", "opentelemetry", "torch")  # fmt: skip


@pytest.mark.parametrize("words", OPTIONS, ids=lambda words: " ".join(words) or "stillhouse")
def test_help_names_every_option(words: tuple[str, ...], tmp_path: Path) -> None:
    done = cli(*words, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    for option in OPTIONS[words]:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", said, re.IGNORECASE), option


def test_every_command_is_in_this_list() -> None:
    from typer.main import get_command

    from cli.main import app

    found: set[tuple[str, ...]] = set()

    def visit(command: object, words: tuple[str, ...]) -> None:
        found.add(words)
        for name, inner in getattr(command, "commands", {}).items():
            visit(inner, (*words, name))

    visit(get_command(app), ())
    assert found == set(OPTIONS)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, cli.main\n"
        f"sys.stdout.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout == ""


def test_an_error_goes_to_standard_error_with_cause_and_solution(tmp_path: Path) -> None:
    done = cli("status", "--db", "nowhere.db", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    for part in ("Error: ", "Cause ", "Solution ", "nowhere.db"):
        assert part in done.stderr
    assert list(tmp_path.iterdir()) == []
