"""A full disk, on a real file system of a few MiB: a typed error, whatever else lies on that disk,
and with room again the same command goes on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from factory import rows
from ranks import Ranks, begun_of, five_steps, kept, steps_of

from training.engine import last_words
from training.engine.launch import LOG, _why
from training.engine.ledger import Ledger
from training.engine.spec import SPEC, StageSpec
from training.engine.stages import MODEL, stage_spec, tokenised_corpus, train
from training.engine.tether import Tether
from training.errors import CheckpointRefused, LaunchFailed, NotFinite, TrainingError
from training.recipe import TrainRecipe

BOOKS = "SELECT status FROM training_run ORDER BY started_at"


class Disk:
    """A file system of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @classmethod
    @contextmanager
    def mounted(cls, place: Path) -> Iterator[Disk]:
        """Four MiB at `place`, which is made; the test is skipped where nobody may mount."""
        place.mkdir()
        mount = shutil.which("mount")
        if mount is None:
            pytest.skip("there is no `mount` here")
        done = subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        try:
            yield cls(place)
        finally:
            # Lazily: a corpus that is still mapped into memory keeps it busy.
            subprocess.run(["umount", "--lazy", str(place)], check=True)

    def grow(self) -> None:
        """Gives it room."""
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.place)], check=True)

    def fill(self) -> Path:
        """Takes every byte that is left; returns the file that has them."""
        filler = self.place / "filler"
        with filler.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(4096))
                except OSError:
                    return filler


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk.mounted(tmp_path / "disk") as mounted:
        yield mounted


def _spec(recipe: TrainRecipe) -> StageSpec:
    return stage_spec(recipe, recipe.stages[0], *tokenised_corpus(recipe))


# ---- The whole way


class _Course:
    """A training whose checkpoints cease to fit; then, with room, the rest of it."""

    def __init__(self, disk: Disk, made: Path, ranks: Ranks) -> None:
        self.disk = disk
        self.recipe = five_steps(made, disk.place, stage={"max_steps": 12, "epochs": 6})
        self.spec = _spec(self.recipe)
        with pytest.raises(TrainingError) as caught:
            train(self.recipe, self.recipe.stages)
        self.error = caught.value
        self.kept = kept(self.spec)
        disk.grow()
        with Tether.hold(self.spec.folder):
            self.later = ranks.run(self.spec)


@pytest.fixture(scope="module")
def course(made: Path, ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Course]:
    with Disk.mounted(tmp_path_factory.mktemp("course") / "disk") as disk:
        yield _Course(disk, made, ranks)


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_training_with_a_typed_error(course: _Course) -> None:
    assert type(course.error) is CheckpointRefused
    assert "Free some disk space" in course.error.solution
    assert course.error.command == "df -h"
    assert course.kept == [1, 2]


@pytest.mark.slow
def test_with_room_again_the_ranks_go_on_from_the_last_checkpoint(course: _Course) -> None:
    assert course.later == {}
    assert [each["step"] for each in begun_of(course.spec)] == [0, course.kept[-1]]
    assert steps_of(course.spec) == list(range(1, 13))


@pytest.mark.slow
def test_plots_that_do_not_fit_fail_no_training_and_are_spoken_of(course: _Course) -> None:
    filler = course.disk.fill()
    notes: list[str] = []
    (report,) = train(course.recipe, course.recipe.stages, on_note=notes.append)
    assert report.outcome == "kept"
    assert len(notes) == 1
    assert "plots could not be drawn" in notes[0] and "No space left" in notes[0]
    filler.unlink()


# ---- Each part


def test_nothing_is_started_on_a_disk_that_is_full(disk: Disk, made: Path) -> None:
    recipe = five_steps(made, disk.place)
    spec = _spec(recipe)
    disk.fill()
    with pytest.raises(CheckpointRefused, match="cannot be written"):
        train(recipe, recipe.stages)
    assert not (spec.folder / LOG).exists()


def test_a_rank_can_say_its_error_on_a_disk_that_has_filled_up(disk: Disk) -> None:
    last_words.reserve(disk.place, "3")
    disk.fill()
    said = CheckpointRefused("W", cause="C" * 5000, solution="S", command="X")
    last_words.leave(said, disk.place, "3")
    left = last_words.left_in(disk.place)
    assert type(left) is CheckpointRefused
    assert (left.what, left.cause, left.solution, left.command) == ("W", "C" * 5000, "S", "X")


def test_a_rank_without_room_for_its_error_does_not_begin(disk: Disk) -> None:
    disk.fill()
    with pytest.raises(CheckpointRefused, match="cannot be written"):
        last_words.reserve(disk.place, "0")


def test_ranks_that_could_say_nothing_are_explained_by_their_disk(disk: Disk, made: Path) -> None:
    spec = _spec(five_steps(made, disk.place))
    (spec.folder / LOG).write_text("OSError: it broke\n")
    assert type(_why(spec, 1)) is LaunchFailed
    disk.fill()
    error = _why(spec, 1)
    assert type(error) is CheckpointRefused
    assert f"The disk of {spec.folder} is full" in error.what
    assert "it broke" in error.cause


def test_books_that_cannot_be_closed_hide_no_error(disk: Disk, made: Path) -> None:
    books = disk.place / "corpus.db"
    shutil.copyfile(made / "data" / "corpus.db", books)
    recipe = five_steps(made, disk.place, corpus={"db": str(books)})
    spec, (corpus, _) = _spec(recipe), tokenised_corpus(recipe)
    model = spec.folder / MODEL
    with pytest.raises(NotFinite, match="the real one"), Ledger.entry(spec, corpus, model):
        filler = disk.fill()
        raise NotFinite("the real one", cause="C", solution="S")
    assert [row["status"] for row in rows(books, BOOKS)] == ["running"]
    filler.unlink()
    with Ledger.entry(spec, corpus, model):
        pass
    assert [row["status"] for row in rows(books, BOOKS)] == ["interrupted", "finished"]


def test_a_stage_that_cannot_be_written_leaves_the_old_spec_whole(disk: Disk, made: Path) -> None:
    recipe = five_steps(made, disk.place)
    old = _spec(recipe).write().read_bytes()
    disk.fill()
    with pytest.raises(CheckpointRefused):
        train(recipe, recipe.stages)
    assert (_spec(recipe).folder / SPEC).read_bytes() == old
