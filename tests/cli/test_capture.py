"""`stillhouse capture` as a user sees it: what it says, keeps and refuses."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from factory import cli, end, environment, last_line, one, rows, start_cli
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

from training.store.shard import SUFFIX

ENVIRONMENT = environment(OMP_NUM_THREADS="1")
KD = {"name": "kd", "kind": "kd", "teachers": [{"teacher": "big"}]}


def capture(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return cli(
        "capture", folder / "recipe.yaml", *arguments, cwd=folder, env=ENVIRONMENT, timeout=240
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("student", "big", "other")):
        tiny_model(folder / name, seed)
    return folder


@pytest.fixture
def world(models: Path, tmp_path: Path) -> Path:
    """A corpus of twelve samples and a recipe with two teachers, one of which a stage names."""
    return _world(models, tmp_path, 12)


def _world(models: Path, folder: Path, samples: int) -> Path:
    manifest = exported_corpus(folder / "data", samples)
    teachers = {
        name: {"model": str(models / name), "dtype": "float32"} for name in ("big", "other")
    }
    document = recipe_document(manifest, models / "student", teachers=teachers, stages=[KD])
    document["corpus"]["db"] = "data/corpus.db"
    document["capture"] = {"store": "rows", "k": 5}
    write_recipe(folder, document)
    return folder


def refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 1
    assert [each for each in said if each not in done.stderr] == []
    assert "Solution" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_capture_says_what_it_stored_and_whether_k_is_enough(world: Path) -> None:
    done = capture(world, "--json")
    assert done.returncode == 0, done.stderr
    (report,) = last_line(done.stdout)["captures"]
    assert (report["teacher"]["model"], report["captured"], report["known"]) == ("big", 12, 0)
    total = report["own"]
    assert (total["samples"], total["rows"]) == (12, report["rows"])
    assert "12 captured now, 0 known" in done.stdout
    assert f"{total['rows']:,} rows of 12 samples" in done.stdout
    assert "bytes per response token" in done.stdout and "kept mass" in done.stdout
    picture = (world / "rows" / "kept-mass-big.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 5000
    # The corpus's table leads to every sample's rows.
    assert one(world / "data" / "corpus.db", "SELECT count(*) FROM teacher_logprobs") == 12

    again = capture(world, "--json")
    assert again.returncode == 0
    assert "0 captured now, 12 known" in again.stdout
    assert last_line(again.stdout)["captures"][0]["own"] == total
    assert len(list((world / "rows").glob(f"*{SUFFIX}"))) == 1


@pytest.mark.slow
def test_a_teacher_may_be_asked_for_by_name(world: Path) -> None:
    done = capture(world, "--teacher", "other", "--json")
    assert done.returncode == 0, done.stderr
    assert [each["teacher"]["model"] for each in last_line(done.stdout)["captures"]] == ["other"]
    found = rows(world / "data" / "corpus.db", "SELECT DISTINCT teacher FROM teacher_logprobs")
    assert found == [{"teacher": "other"}]


@pytest.mark.slow
def test_figures_are_the_teachers_own_and_the_stores_stand_apart(world: Path) -> None:
    (alone,) = last_line(capture(world, "--json").stdout)["captures"]
    done = capture(world, "--teacher", "big", "--teacher", "other", "--json")
    assert done.returncode == 0, done.stderr
    big, other = last_line(done.stdout)["captures"]
    assert big["own"] == alone["own"]
    for name in ("nll", "codec_error", "kept_mass"):
        assert big["own"][name] != other["own"][name], name
    assert big["own"]["teachers"] == ["big"] and other["own"]["teachers"] == ["other"]
    whole = other["store"]["total"]
    assert whole["rows"] == big["own"]["rows"] + other["own"]["rows"]
    assert whole["teachers"] == ["big", "other"]
    assert f"{whole['rows']:,} rows of 24 samples" in done.stdout
    assert (
        len({(world / "rows" / f"kept-mass-{n}.png").read_bytes() for n in ("big", "other")}) == 2
    )


@pytest.mark.slow
def test_a_disk_without_room_for_the_picture_costs_the_picture_alone(world: Path) -> None:
    assert capture(world, "--json").returncode == 0
    picture = world / "rows" / "kept-mass-big.png"
    picture.unlink()
    done = cli(
        "capture", world / "recipe.yaml", "--set", "corpus.db=null", "--json",
        cwd=world, env=ENVIRONMENT, timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert last_line(done.stdout)["captures"][0]["known"] == 12
    assert "picture" in done.stderr and "cannot be written: File too large" in done.stderr
    assert not list((world / "rows").glob("*.png*"))


@pytest.mark.slow
def test_an_interrupted_capture_keeps_its_shards_and_goes_on(models: Path, tmp_path: Path) -> None:
    world = _world(models, tmp_path, 150)
    slow = ("--set", "capture.rows_per_shard=20", "--set", "capture.tokens_per_batch=64")
    process = start_cli("capture", world / "recipe.yaml", *slow, cwd=world, env=ENVIRONMENT)
    try:
        _until_shards(world / "rows", 3, process)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    finally:
        end(process)
    assert process.returncode == 130
    assert "Traceback" not in out + said
    assert not list((world / "rows").glob("*.tmp"))
    done = capture(world, *slow, "--json")
    assert done.returncode == 0, done.stderr
    (report,) = last_line(done.stdout)["captures"]
    assert 0 < report["known"] < 150
    assert report["known"] + report["captured"] == 150
    assert one(world / "data" / "corpus.db", "SELECT count(*) FROM teacher_logprobs") == 150


def _until_shards(store: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(12000):
        if len(list(store.glob(f"*{SUFFIX}"))) >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    pytest.fail("no shards came")


def test_a_teacher_that_the_recipe_lacks_is_refused(world: Path) -> None:
    refused(capture(world, "--teacher", "huge"), "no teacher 'huge'", "big, other")


def test_a_recipe_without_kd_has_nothing_to_capture(world: Path) -> None:
    done = capture(world, "--set", 'stages=[{"name": "s", "kind": "sft"}]')
    refused(done, "nothing to capture", "--teacher")


def test_a_teacher_without_weights_is_refused(world: Path, models: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_bytes((models / "big" / "config.json").read_bytes())
    refused(capture(world, "--set", "teachers.big.model=bare"), "bare")


@pytest.mark.slow
def test_a_teacher_of_another_vocabulary_is_refused(
    world: Path, models: Path, tmp_path: Path
) -> None:
    tiny_model(tmp_path / "foreign", 3)
    file = tmp_path / "foreign" / "tokenizer.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    vocab = document["model"]["vocab"]
    renamed = {(f"ø{t}" if len(t) == 1 and t.isalpha() else t): n for t, n in vocab.items()}
    document["model"] |= {"vocab": renamed, "merges": []}
    file.write_text(json.dumps(document), encoding="utf-8")
    done = capture(world, "--set", "teachers.big.model=foreign")
    refused(done, "big", "vocabular")
    assert not list((world / "rows").glob(f"*{SUFFIX}"))


@pytest.mark.slow
def test_a_full_disk_is_said_so_and_leaves_no_half_shard(world: Path) -> None:
    whole = ("--set", "corpus.db=null")
    assert capture(world, "--teacher", "other", *whole).returncode == 0
    (shard,) = (world / "rows").glob(f"*{SUFFIX}")
    room = shard.stat().st_size // 2
    done = cli(
        "capture", world / "recipe.yaml", *whole, cwd=world, env=ENVIRONMENT, timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )  # fmt: skip
    refused(done, "Teacher rows cannot be written", "disk space")
    assert list((world / "rows").glob(f"*{SUFFIX}*")) == [shard]
