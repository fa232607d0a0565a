"""Steps: done once, resumed after a failure, two at a time, done anew where their shape changes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from benchmarks.proving_ground.steps import Step, everything, run_steps


def step(name: str, done: list[str], *needs: Step, shape: int = 0) -> Step:
    def work(folder: Path) -> None:
        done.append(name)
        (folder / "made").write_text(name)

    return Step(name, {"shape": shape}, work, needs)


def test_needs_are_done_first_and_each_once(tmp_path: Path) -> None:
    done: list[str] = []
    first = step("first", done)
    left, right = step("left", done, first), step("right", done, first)
    last = step("last", done, left, right)
    seconds = run_steps([last, left], tmp_path, 2, lambda _: None)
    assert sorted(done) == ["first", "last", "left", "right"]
    assert (done[0], done[-1]) == ("first", "last")
    assert set(seconds) == set(done)
    assert (last.folder(tmp_path) / "made").read_text() == "last"


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    done: list[str] = []
    one = step("one", done)
    run_steps([one], tmp_path, 1, lambda _: None)
    run_steps([one, step("two", done, one)], tmp_path, 1, lambda _: None)
    assert done == ["one", "two"]


def test_another_shape_is_another_step_and_so_is_all_that_follows() -> None:
    first, other = step("first", []), step("first", [], shape=1)
    assert first.key != other.key
    assert step("next", [], first).key != step("next", [], other).key
    assert len(everything([step("next", [], first), step("next", [], step("first", []))])) == 2


def test_after_a_failure_the_step_goes_on_in_its_folder(tmp_path: Path) -> None:
    attempts: list[bool] = []

    def work(folder: Path) -> None:
        attempts.append((folder / "half").exists())
        (folder / "half").touch()
        if len(attempts) == 1:
            raise RuntimeError("power cut")

    flaky, done = Step("flaky", {}, work), list[str]()
    following = step("following", done, flaky)
    with pytest.raises(RuntimeError, match="power cut"):
        run_steps([following], tmp_path, 1, lambda _: None)
    assert done == [] and flaky.seconds(tmp_path) is None
    run_steps([following], tmp_path, 1, lambda _: None)
    assert attempts == [False, True] and done == ["following"]


def test_two_run_at_once_on_two_cores(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=30)

    def meet(_: Path) -> None:
        together.wait()

    run_steps([Step(name, {}, meet) for name in "ab"], tmp_path, 2, lambda _: None)
    assert not together.broken


def test_a_step_of_two_threads_has_two_cores_for_itself(tmp_path: Path) -> None:
    busy, seen = threading.Semaphore(2), list[bool]()

    def narrow(_: Path) -> None:
        with busy:
            pass

    def wide(_: Path) -> None:
        seen.append(busy.acquire(blocking=False) and busy.acquire(blocking=False))
        busy.release(2)

    steps = [Step(f"narrow {n}", {}, narrow) for n in range(4)]
    steps.insert(2, Step("wide", {}, wide, (), 2))
    run_steps(steps, tmp_path, 2, lambda _: None)
    assert seen == [True]
