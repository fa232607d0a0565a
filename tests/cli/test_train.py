"""`stillhouse train` as a user sees it: what it says and leaves, and that no kill changes a result.

Every run here is the whole thing: the command, DeepSpeed's launcher, two ranks over gloo.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from factory import cli, end, environment, last_line, rows, start_cli
from safetensors.torch import load_file
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.report.reading import read_metrics

ENVIRONMENT = environment(OMP_NUM_THREADS="1")
STEPS = 48
# What depends on the clock and the machine; everything else in a step's record must be the same.
OF_THE_MOMENT = {"time", "seconds", "tokens_per_s", "mfu", "peak_memory_bytes"}
LEDGER = "SELECT stage, status, export_id, output, ended_at FROM training_run ORDER BY started_at"


def train(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kind, *rest = arguments
    file = folder / "recipe.yaml"
    return cli("train", kind, file, *rest, cwd=folder, env=ENVIRONMENT, timeout=300)


def _world(folder: Path) -> Path:
    """A folder with a corpus, two models and a recipe: SFT, then KD from one teacher."""
    manifest = exported_corpus(folder / "data", 26)
    tiny_model(folder / "student")
    tiny_model(folder / "teacher", 1)
    document = recipe_document(manifest, folder / "student")
    document["corpus"]["db"] = str(folder / "data" / "corpus.db")
    document["data"]["context"] = 54
    document["engine"] |= {"ranks": 2, "zero": 2, "checkpoint_every": 4}
    document["teachers"] = {"big": {"model": str(folder / "teacher"), "dtype": "float32"}}
    document["capture"] = {"store": "rows", "k": 6}
    document["stages"][0] |= {"epochs": 50, "max_steps": STEPS}
    kd = {"name": "kd", "kind": "kd", "teachers": [{"teacher": "big"}]}
    document["stages"].append({**document["stages"][0], **kd, "max_steps": STEPS // 2})
    write_recipe(folder, document)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _world(tmp_path_factory.mktemp("world"))
    done = cli("capture", "recipe.yaml", cwd=folder, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def sft(world: Path) -> subprocess.CompletedProcess[str]:
    """The SFT stage on two ranks, ZeRO 2, without any trouble."""
    done = train(world, "sft", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def kd(world: Path, sft: Any) -> subprocess.CompletedProcess[str]:
    """The KD stage after it, on two ranks, ZeRO 3."""
    done = train(world, "kd", "--set", "engine.zero=3")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def stage(world: Path, name: str, output: str = "trained") -> Path:
    return world / output / "tiny" / name


def steps(folder: Path) -> list[dict[str, Any]]:
    file = folder / "metrics.jsonl"
    if not file.exists():
        return []
    return [
        {name: value for name, value in record.items() if name not in OF_THE_MOMENT}
        for record in read_metrics(file)
        if record["kind"] == "step"
    ]


def same_weights(one: Path, other: Path) -> bool:
    """Whether two stages left the same model, bit for bit."""
    expected, found = (load_file(each / "model" / "model.safetensors") for each in (one, other))
    return expected.keys() == found.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


# ---- What it says and leaves


@pytest.mark.slow
def test_sft_says_what_it_trained_on_and_where_the_model_is(
    world: Path, sft: subprocess.CompletedProcess[str]
) -> None:
    said = last_line(sft.stdout)
    corpus = said["corpus"]
    assert corpus["train"] + corpus["held_out"] + corpus["lost"]["too_long"] == 26
    assert corpus["lost"]["too_long"] > 0 and corpus["held_out"] > 0 == corpus["untaught"]
    assert f"corpus: {corpus['train']} examples to train on" in sft.stdout
    assert f"{corpus['lost']['too_long']} dropped (too long)" in sft.stdout
    (report,) = said["stages"]
    assert (report["name"], report["outcome"], report["steps"]) == ("sft", "trained", STEPS)
    assert Path(report["model"]) == stage(world, "sft") / "model"
    assert re.search(r"sft +trained +48", sft.stdout)
    assert "Traceback" not in sft.stderr + sft.stdout


@pytest.mark.slow
def test_training_learns_and_counts_every_step(world: Path, sft: Any) -> None:
    taken = steps(stage(world, "sft"))
    assert [each["step"] for each in taken] == list(range(1, STEPS + 1))
    assert taken[-1]["loss"] < 0.8 * taken[0]["loss"]


@pytest.mark.slow
def test_the_model_loads_as_it_is_and_ends_its_turns(world: Path, sft: Any) -> None:
    folder = stage(world, "sft") / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template
    ends = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert ends in model.generation_config.eos_token_id
    assert model.config.tie_word_embeddings
    lineage = json.loads((folder / "stillhouse.json").read_text())
    assert (lineage["stage"], lineage["recipe"]) == ("sft", "tiny")


@pytest.mark.slow
def test_the_books_lead_from_the_export_to_the_model(world: Path, sft: Any) -> None:
    manifest = json.loads((world / "data" / "corpus.jsonl.manifest.json").read_text())
    books = rows(world / "data" / "corpus.db", LEDGER)
    first = books[0]
    assert (first["stage"], first["status"]) == ("tiny/sft", "finished")
    assert first["export_id"] == manifest["export"]
    assert first["output"] == str(stage(world, "sft") / "model")
    assert first["ended_at"] is not None


@pytest.mark.slow
def test_what_is_done_is_kept_and_not_booked_again(world: Path, sft: Any) -> None:
    model = stage(world, "sft") / "model" / "model.safetensors"
    before, booked = model.stat().st_mtime_ns, rows(world / "data" / "corpus.db", LEDGER)
    again = train(world, "sft", "--json")
    assert again.returncode == 0
    assert "done before, kept" in again.stdout
    assert last_line(again.stdout)["stages"][0]["outcome"] == "kept"
    assert model.stat().st_mtime_ns == before
    assert rows(world / "data" / "corpus.db", LEDGER) == booked


@pytest.mark.slow
def test_kd_begins_with_what_sft_left_and_says_both_parts_of_its_loss(
    world: Path, kd: subprocess.CompletedProcess[str]
) -> None:
    lineage = json.loads((stage(world, "kd") / "model" / "stillhouse.json").read_text())
    before = json.loads((stage(world, "sft") / "model" / "stillhouse.json").read_text())
    assert lineage["start"] == before["identity"]
    assert lineage["teacher_rows"][0]["teacher"]["model"] == "teacher"
    taken = steps(stage(world, "kd"))
    assert [each["step"] for each in taken] == list(range(1, STEPS // 2 + 1))
    assert all(each["kd"] > 0 and 0 < each["teacher_mass"] < 1 for each in taken)
    assert taken[0]["ce"] < 1.1 * steps(stage(world, "sft"))[-1]["ce"]
    assert "teacher P" in kd.stdout


@pytest.mark.slow
def test_another_recipe_in_the_same_folder_is_refused(world: Path, sft: Any) -> None:
    done = train(world, "sft", "--set", "engine.zero=1")
    assert done.returncode == 1
    assert "holds another training run" in done.stderr
    assert "--restart" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_ranks_error_is_shown_and_booked(world: Path) -> None:
    wild = ["--set", "output=wild", "--set", "stages.sft.learning_rate=1e30"]
    done = train(world, "sft", *wild)
    assert done.returncode == 1
    assert "is not finite; training stopped" in done.stderr
    assert "Samples: " in done.stderr and "lower the learning rate" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    last = rows(world / "data" / "corpus.db", LEDGER)[-1]
    assert (last["status"], Path(last["output"]).exists()) == ("failed: not_finite", False)
    assert not ranks_of(stage(world, "sft", "wild"))


# ---- Killed, and gone on with


def ranks_of(folder: Path) -> list[psutil.Process]:
    """Every process that was started to train in this folder: launchers and ranks."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        named = " ".join(process.info["cmdline"] or [])
        gone = process.info["status"] == psutil.STATUS_ZOMBIE
        if str(folder / "stage.json") in named and not gone:
            found.append(process)
    return found


def workers_of(folder: Path) -> list[psutil.Process]:
    """The ranks alone."""
    return [each for each in ranks_of(folder) if any("local_rank" in a for a in each.cmdline())]


def all_gone(folder: Path) -> bool:
    """Whether they end by themselves, soon."""
    for _ in range(600):
        if not ranks_of(folder):
            return True
        time.sleep(0.1)
    return False


def begun_at(folder: Path) -> list[int]:
    """The step that each run in this folder began with, as the metrics have it."""
    file = folder / "metrics.jsonl"
    records = read_metrics(file) if file.exists() else []
    return [record["step"] for record in records if record.get("name") == "begin"]


def until_under_way(folder: Path, runs: int, process: subprocess.Popen[str]) -> None:
    """Waits until the folder's `runs`-th run has taken five steps."""
    for _ in range(6000):
        begun, taken = begun_at(folder), steps(folder)
        if len(begun) == runs and taken and taken[-1]["step"] >= begun[-1] + 5:
            assert len(workers_of(folder)) == 2 and len(ranks_of(folder)) > 2
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    pytest.fail("it never took five steps")


Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(world: Path) -> Iterator[Started]:
    """Starts a training; it does not outlive the test."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        kind, *rest = arguments
        process = start_cli(
            "train", kind, world / "recipe.yaml", *rest,
            cwd=world, env=ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
        begun.append(process)
        return process

    yield begin
    for process in begun:
        end(process)


def _killed_parent(process: subprocess.Popen[str], folder: Path) -> None:
    process.kill()
    process.communicate()


def _killed_rank(process: subprocess.Popen[str], folder: Path) -> None:
    first, *_ = workers_of(folder)
    first.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ended with exit code" in said and "from the last checkpoint" in said
    assert "Traceback" not in said


def _killed_everything(process: subprocess.Popen[str], folder: Path) -> None:
    for each in ranks_of(folder):
        each.kill()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _interrupted(process: subprocess.Popen[str], folder: Path) -> None:
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. The same command goes on from the last checkpoint." in out
    assert "Traceback" not in said + out


def _terminated(process: subprocess.Popen[str], folder: Path) -> None:
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.slow
def test_sft_killed_in_every_way_ends_with_the_same_curve_and_weights(
    world: Path, sft: Any, start: Started
) -> None:
    again = ["--set", "output=again"]
    folder = stage(world, "sft", "again")
    ways = [_interrupted, _killed_parent, _killed_rank, _killed_everything]
    for runs, way in enumerate(ways, 1):
        process = start("sft", *again)
        until_under_way(folder, runs, process)
        way(process, folder)
        assert all_gone(folder), [each.cmdline() for each in ranks_of(folder)]
        assert not (folder / "model").exists()
    begun = begun_at(folder)
    assert begun == sorted(set(begun)) and all(step % 4 == 0 for step in begun)

    done = train(world, "sft", *again)
    assert done.returncode == 0, done.stderr
    assert steps(folder) == steps(stage(world, "sft"))
    assert same_weights(stage(world, "sft"), folder)
    statuses = [row["status"] for row in rows(world / "data" / "corpus.db", LEDGER)
                if row["stage"] == "tiny/sft"]  # fmt: skip
    assert statuses[-5:] == [
        "interrupted", "interrupted", "failed: launch_failed", "interrupted", "finished"
    ]  # fmt: skip


@pytest.mark.slow
def test_kd_killed_in_the_middle_ends_with_the_same_curve_and_weights(
    world: Path, kd: Any, start: Started
) -> None:
    zero = ["--set", "engine.zero=3"]
    reference = stage(world, "kd").rename(world / "reference")
    process = start("kd", *zero)
    until_under_way(stage(world, "kd"), 1, process)
    _killed_parent(process, stage(world, "kd"))
    assert all_gone(stage(world, "kd"))
    done = train(world, "kd", *zero)
    assert done.returncode == 0, done.stderr
    assert 0 < begun_at(stage(world, "kd"))[-1] < STEPS // 2
    assert steps(stage(world, "kd")) == steps(reference)
    assert same_weights(reference, stage(world, "kd"))


@pytest.mark.slow
def test_all_trains_what_is_missing_and_ends_in_order_when_terminated(
    world: Path, sft: Any, start: Started
) -> None:
    short = ["--set", "stages.kd.max_steps=20", "--set", "stages.kd.name=short"]
    process = start("all", *short)
    until_under_way(stage(world, "short"), 1, process)
    _terminated(process, stage(world, "short"))
    assert all_gone(stage(world, "short"))
    done = train(world, "all", *short, "--json")
    assert done.returncode == 0, done.stderr
    outcomes = [(each["name"], each["outcome"]) for each in last_line(done.stdout)["stages"]]
    assert outcomes == [("sft", "kept"), ("short", "trained")]
    assert [each["step"] for each in steps(stage(world, "short"))] == list(range(1, 21))
    last = rows(world / "data" / "corpus.db", LEDGER)[-2:]
    assert [row["status"] for row in last] == ["interrupted", "finished"]


# ---- What it refuses


def test_a_kind_that_the_recipe_lacks_is_refused(world: Path) -> None:
    done = train(world, "kd", "--set", 'stages=[{"name": "s", "kind": "sft"}]')
    assert done.returncode == 1
    assert "The recipe has no KD stage" in done.stderr
    assert "s (sft)" in done.stderr


def test_kd_before_sft_is_refused_with_the_next_command(world: Path) -> None:
    done = train(world, "kd", "--set", "output=nowhere")
    assert done.returncode == 1
    assert "begins with what stage 'sft' leaves" in done.stderr
    assert "stillhouse train sft" in done.stderr


def test_without_torch_the_command_says_how_to_install_the_trainer(world: Path) -> None:
    hidden = (
        "import sys; sys.modules['deepspeed'] = None; from cli.main import main; "
        "main(['train', 'sft', 'recipe.yaml'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden], cwd=world, env=ENVIRONMENT,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Missing: deepspeed" in done.stderr and "make train" in done.stderr
