"""`stillhouse train plan`: what a recipe will need, before anything is downloaded or rented.

In: a training recipe and what the user says of the corpus, the GPUs' share of peak and prices. Out:
tables for people, one JSON object for programs. Every figure is computed, and none is measured.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from cli.plain import plain
from cli.show import console, dollars, print_json
from training.plan.gpus import GPUS, parse_prices
from training.plan.hours import Hours
from training.plan.memory import GIB, RUNTIME
from training.plan.plan import Fit, Plan, make_plan
from training.plan.tokens import TokenOptions
from training.recipe import load_train_recipe

_PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer's states",
    "buffers": "DeepSpeed's buffers",
    "activations": "activations",
    "head": "loss head",
    "runtime": "CUDA and NCCL (assumed)",
    "update": "update, in their place",
    "peak": "peak",
    "host": "host memory per rank",
}


def plan_command(
    recipe: str,
    set_: list[str],
    samples: int | None,
    tokens_per_sample: int | None,
    response_share: float | None,
    mfu: float | None,
    prices: list[str],
    json: bool,
) -> int:
    """Plans; returns the exit code."""
    plan = make_plan(
        load_train_recipe(recipe, set_),
        TokenOptions(samples, tokens_per_sample, response_share),
        mfu=mfu,
        prices=parse_prices(prices),
    )
    _show(plan, recipe)
    if json:
        print_json(plan.as_dict())
    return 0


def _show(plan: Plan, recipe: str) -> None:
    console.print(Text(plan.recipe, style="bold"))
    console.print(_models(plan))
    for line in _vocabularies(plan):
        console.print(Text(plain(line)))
    console.print()
    console.print(_memory(plan))
    for line in _fits(plan):
        console.print(Text(plain(line)))
    console.print()
    for line in _corpus(plan, recipe):
        console.print(Text(plain(line)))
    if plan.works:
        console.print()
        console.print(_work(plan))
        console.print()
        console.print(_hours(plan))
        for line in _assumptions(plan):
            console.print(Text(plain(line)))


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 2), header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", overflow="fold")
    return table


def _models(plan: Plan) -> Table:
    table = _table("", "model", "parameters", "GiB per GPU", "GPUs", left=2)
    peak = plan.memory[plan.case.zero].peak
    rows = [("student", plan.student, peak, plan.ranks)]
    rows += [(each.name, each.source, each.memory, each.gpus) for each in plan.teachers]
    for role, source, memory, gpus in rows:
        billions = f"{source.shape.parameters / 1e9:,.3f} B"
        table.add_row(
            Text(plain(role)), Text(plain(source.name)), billions, _gib(memory), f"{gpus}"
        )
    return table


def _vocabularies(plan: Plan) -> list[str]:
    licences = _grouped(
        (source.licence or "unknown", source.name.rpartition("/")[2])
        for source in (plan.student, *(each.source for each in plan.teachers))
    )
    checks = _grouped((each.vocabulary.text, each.name) for each in plan.teachers)
    lines = [f"  licence of {names}: {licence}." for licence, names in licences.items()]
    lines += [f"  vocabulary of {names}: {text}." for text, names in checks.items()]
    lines += [f"  Warning: {warning}." for warning in plan.warnings]
    for each in plan.teachers:
        small = [gpu.name for gpu in GPUS if each.memory > gpu.memory]
        if small:
            turn = f"; --set {' --set '.join(each.knob.split())}" if each.knob else ""
            lines.append(f"  teacher {each.name} does not fit {', '.join(small)}{turn}.")
    return lines


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names by what is said of them, joined by commas, each once."""
    groups: dict[str, dict[str, None]] = {}
    for said, name in pairs:
        groups.setdefault(said, {})[name] = None
    return {said: ", ".join(names) for said, names in groups.items()}


def _memory(plan: Plan) -> Table:
    ranks = f"GiB per GPU, {plan.ranks} GPU{'s' if plan.ranks > 1 else ''}"
    stages = [f"ZeRO {z}{'*' if z == plan.case.zero else ''}" for z in plan.memory]
    table = _table(ranks, *stages)
    for part, name in _PARTS.items():
        cells = (_gib(memory.as_dict()[part]) for memory in plan.memory.values())
        table.add_row(name, *cells, style="bold" if part == "peak" else "")
    return table


def _fits(plan: Plan) -> list[str]:
    case = plan.case
    tokens = f"  for micro-batches of {case.tokens:,} tokens"
    tokens += ", activations checkpointed" if case.checkpointing else ""
    return [f"{tokens}; * is the recipe's stage.", *(_fit_words(fit) for fit in plan.fits)]


def _fit_words(fit: Fit) -> str:
    words = f"  {fit.gpu.name} ({_gib(fit.gpu.memory)} GiB): "
    if fit.fits:
        return f"{words}fits."
    if fit.knobs is None:
        return f"{words}does not fit; give it more GPUs (engine.ranks) or adapters (student.lora)."
    return f"{words}does not fit; {' '.join(f'--set {knob}' for knob in fit.knobs)} would."


def _corpus(plan: Plan, recipe: str) -> list[str]:
    corpus = plan.corpus
    if corpus is None:
        return [
            "  tokens: unknown, there is no exported corpus yet. Say how large it will be:",
            f"  stillhouse train plan {recipe} --samples N --tokens-per-sample M "
            "--response-share X",
        ]
    lines = [
        f"  tokens: {corpus.tokens:,.0f} in {corpus.samples:,} samples, "
        f"{corpus.response_share:.0%} of them trained on ({corpus.rule})."
    ]
    if corpus.left_out:
        lines.append(f"  {corpus.left_out:,} samples are longer than the context and left out.")
    return lines


def _work(plan: Plan) -> Table:
    table = _table("", "", "GPUs", "steps", "tokens", "PFLOP", left=2)
    for work in plan.works:
        table.add_row(
            Text(plain(work.name)),
            work.kind,
            f"{work.gpus}",
            "" if work.steps is None else f"{work.steps:,}",
            f"{work.tokens:,.0f}",
            f"{work.flops / 1e15:,.0f}",
        )
    return table


def _hours(plan: Plan) -> Table:
    table = _table("hours", *(gpu.name for gpu in GPUS))
    for work, hours in zip(plan.works, plan.hours, strict=True):
        cells = (_range(*hours[gpu.key].hours) for gpu in GPUS)
        table.add_row(Text(f"{plain(work.name)}, {work.kind}"), *cells)
    totals = {gpu.key: [hours[gpu.key] for hours in plan.hours] for gpu in GPUS}
    table.add_row("GPU-hours in all", *(_gpu_hours(totals[gpu.key]) for gpu in GPUS))
    table.add_row("US dollars in all", *(_cost(totals[gpu.key]) for gpu in GPUS))
    return table


def _gpu_hours(hours: list[Hours]) -> str:
    return _range(*(sum(each.gpu_hours[end] for each in hours) for end in (0, 1)))


def _cost(hours: list[Hours]) -> str:
    usd = [each.usd for each in hours if each.usd is not None]
    if not usd:
        return "price not given"
    low, high = (dollars(sum(each[end] for each in usd)) for end in (0, 1))
    return low if low == high else f"{low}–{high}"


def _assumptions(plan: Plan) -> list[str]:
    low, high = min(plan.mfu), max(plan.mfu)
    share = f"{low:.0%}" if low == high else f"{low:.0%} to {high:.0%}"
    lines = [
        f"  Estimates: they assume {share} of the GPUs' dense bf16 peak (--mfu), which is not "
        f"measured, and {_gib(RUNTIME)} GiB per GPU for CUDA and NCCL."
    ]
    if any(each.usd is None for hours in plan.hours for each in hours.values()):
        lines.append("  For the cost, give US dollars per GPU-hour: --price A800=DOLLARS.")
    return lines


def _range(low: float, high: float) -> str:
    first, second = _number(low), _number(high)
    return first if first == second else f"{first}–{second}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _gib(count: int) -> str:
    return f"{count / GIB:,.1f}"
