"""Runs the proving ground and writes its report; what is done already is not done again.

python -m benchmarks.proving_ground                    # the headline arms
python -m benchmarks.proving_ground --sweeps           # controls and sweeps too (hours)
python -m benchmarks.proving_ground --arms sft,sft-unverified   # some of them
python -m benchmarks.proving_ground --scale smoke      # every part, too small to mean anything
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.proving_ground.arms import Arm, Arms
from benchmarks.proving_ground.discussion import first_line
from benchmarks.proving_ground.pipeline import Pipeline
from benchmarks.proving_ground.report import write_report
from benchmarks.proving_ground.scales import SCALES
from benchmarks.proving_ground.steps import Step, everything, only_one, run_steps
from benchmarks.support import CHECKOUT

_WORK = CHECKOUT / "proving-ground"
_REPORT = Path(__file__).parent


def main() -> None:
    """Parses the command line, does the steps, writes the report."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scale", choices=list(SCALES), default="headline")
    parser.add_argument("--sweeps", action="store_true", help="controls and sweeps too")
    parser.add_argument(
        "--arms", help="these arms only, by name, comma-separated (arms.py has them)"
    )
    parser.add_argument("--work", type=Path, default=_WORK, help="where results are kept")
    parser.add_argument("--report", type=Path, help="where the report goes")
    parser.add_argument(
        "--training-seeds", type=int, metavar="N", help="train each arm with the first N seeds only"
    )
    parser.add_argument("--cores", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--digest", type=Path, metavar="REPORT.JSON",
        help="print the first line of a discussion.md that belongs to these figures, and end",
    )  # fmt: skip
    options = parser.parse_args()
    if options.training_seeds is not None and options.training_seeds < 1:
        parser.error("--training-seeds: at least 1")
    if options.digest:
        print(first_line(json.loads(options.digest.read_text(encoding="utf-8"))))
        return
    folder = options.report or (
        _REPORT if options.scale == "headline" else options.work / f"report-{options.scale}"
    )
    with contextlib.redirect_stdout(sys.stderr):
        said = prove(options, folder)
    print(json.dumps(said, ensure_ascii=False))


def prove(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Does the steps; returns the last line: each arm's accuracy, and how long this call took."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pipeline = Pipeline(SCALES[options.scale].with_seeds(options.training_seeds), options.work)
    arms = Arms(pipeline)
    wanted = chosen(options.arms, arms.all()) if options.arms else (
        arms.all() if options.sweeps else arms.headline()
    )  # fmt: skip
    exams = [step for arm in wanted.values() for step in arm.exams]
    exams += teachers_exams(arms, exams)
    with only_one(pipeline.work):
        run_steps(exams, pipeline.work, options.cores, lambda line: print(line, flush=True))
    said = write_report(pipeline, folder, options.cores)
    print(f"{folder / 'REPORT.md'}")
    accuracy = {name: each["accuracy"] for name, each in said["arms"].items()}
    return {"scale": options.scale, "seconds": round(time.monotonic() - began), **accuracy}


def teachers_exams(arms: Arms, exams: list[Step]) -> list[Step]:
    """The exams of the largest teacher, and of each other whose rows one of the models learnt."""
    needed = {step.key for step in everything(exams)} | {arms.teacher().step.key}
    exam_of = arms.teachers()
    return [exam_of[name] for name in exam_of if arms.teacher(name).step.key in needed]


def chosen(names: str, known: dict[str, Arm]) -> dict[str, Arm]:
    """The arms of a comma-separated list."""
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        sys.exit(f"no such arm: {', '.join(unknown)}. There are: {', '.join(known)}")
    return {name: known[name] for name in wanted}


if __name__ == "__main__":
    main()
