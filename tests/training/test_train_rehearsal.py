"""The rehearsal of docs/training.md, run as the page has it: seeds, corpus, SFT, capture, KD.

The page's own commands are taken from it, in a copy of the recipes; only the quickstart reads fewer
seeds here, so that its simulated corpus is made in seconds.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from factory import CHECKOUT, STILLHOUSE, environment
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.report.reading import read_metrics

SEEDS = 24
INSTALLS = ("make train", ". .venv/bin/activate")


def _page() -> list[str]:
    """The commands of the page's rehearsal, comments left out."""
    page = (CHECKOUT / "docs" / "training.md").read_text(encoding="utf-8")
    block = page.partition("## A rehearsal")[2].partition("\n## ")[0]
    lines = re.findall(r"^    (\S.*)$", block, flags=re.MULTILINE)
    return [line.partition("  #")[0].rstrip() for line in lines]


def _make_run() -> str:
    """What `make run` does once everything is installed."""
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\t\$\(BIN\)/(stillhouse run .*)$", makefile, flags=re.MULTILINE)
    return f"{command} --limit {SEEDS}"


def _run(line: str, folder: Path) -> str:
    program, *arguments = shlex.split(line)
    known = {"python": sys.executable, "stillhouse": str(STILLHOUSE)}
    done = subprocess.run(
        [known[program], *arguments], cwd=folder, env=environment(OMP_NUM_THREADS="1"),
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder that the page's commands were run in, and what each of them said."""
    folder = tmp_path_factory.mktemp("rehearsal")
    for name in ("quickstart", "rehearsal", "vllm-cpu"):
        ignored = shutil.ignore_patterns("work")
        shutil.copytree(CHECKOUT / "recipes" / name, folder / "recipes" / name, ignore=ignored)
    said = {}
    for line in _page():
        if line not in INSTALLS:
            said[line] = _run(_make_run() if line == "make run" else line, folder)
    return folder, said


@pytest.mark.slow
def test_the_rehearsal_runs_as_the_page_has_it(rehearsed: tuple[Path, dict[str, str]]) -> None:
    _, said = rehearsed
    kinds = [re.sub(r" recipes/.*", "", line) for line in said]
    assert kinds[0] == "make run" and kinds[-4:] == [
        "stillhouse export", "stillhouse train sft", "stillhouse capture", "stillhouse train kd",
    ]  # fmt: skip
    assert "bytes per response token" in said["stillhouse capture recipes/rehearsal"]
    assert re.search(r"kd +trained", said["stillhouse train kd recipes/rehearsal"])


@pytest.mark.slow
def test_the_rehearsal_leaves_what_the_page_says(rehearsed: tuple[Path, dict[str, str]]) -> None:
    folder, _ = rehearsed
    run = folder / "recipes" / "rehearsal" / "work" / "trained" / "rehearsal"
    assert list((run / "plots").glob("*.png"))
    for stage in ("sft", "kd"):
        for name in ("model/stillhouse.json", "metrics.jsonl", "checkpoints", "ranks.log",
                     "tensorboard"):  # fmt: skip
            assert (run / stage / name).exists(), name
    steps = {
        stage: [
            each for each in read_metrics(run / stage / "metrics.jsonl") if each["kind"] == "step"
        ]
        for stage in ("sft", "kd")
    }
    assert steps["sft"][-1]["loss"] < steps["sft"][0]["loss"]
    assert all(each["kd"] > 0 and 0 < each["teacher_mass"] < 1 for each in steps["kd"])
    lineage = json.loads((run / "kd" / "model" / "stillhouse.json").read_text(encoding="utf-8"))
    before = json.loads((run / "sft" / "model" / "stillhouse.json").read_text(encoding="utf-8"))
    assert lineage["start"] == before["identity"]
    assert AutoTokenizer.from_pretrained(run / "kd" / "model").chat_template
    assert AutoModelForCausalLM.from_pretrained(run / "kd" / "model").num_parameters() > 300_000
