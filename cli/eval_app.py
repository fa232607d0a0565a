"""`stillhouse eval …`: declares its commands and their options; the body is in `cli.eval`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.eval_compare_app import compare, report

eval_app = typer.Typer(
    help="Measure a model on a benchmark; the result is a row that leads back to its training.",
    no_args_is_help=True,
)

Recipe = Annotated[
    str | None, typer.Argument(help="An evaluation recipe; --model and --judge do without one.")
]
Model = Annotated[
    str | None,
    typer.Option(
        help="The model: a folder or hub id that vLLM serves here, a name at --base-url, or one of "
        "the recipe's teachers."
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option(help="The OpenAI-compatible endpoint that serves --model.")
]
ApiKeyEnv = Annotated[
    str | None, typer.Option(help="The environment variable with the endpoint's key.")
]
Judge = Annotated[
    str | None,
    typer.Option(help="The judge, named as --model is; `simulated` rehearses."),
]
JudgeUrl = Annotated[str | None, typer.Option(help="The endpoint that serves --judge.")]
JudgeKeyEnv = Annotated[
    str | None, typer.Option(help="The environment variable with the judge's key.")
]
Label = Annotated[str | None, typer.Option(help="What reports call the model.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many items.")]
Db = Annotated[
    str,
    typer.Option("--db", envvar="STILLHOUSE_DB", help="SQLite file, or postgresql:// URL."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Override one value, e.g. teachers.model.server.max_model_len=4096."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]
DEFAULT_DB = "stillhouse.db"


@eval_app.command("ifeval")
def ifeval(
    recipe: Recipe = None,
    model: Model = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    language: Annotated[str | None, typer.Option(help="en, or ja for M-IFEval's Japanese.")] = None,
    data: Annotated[
        str | None, typer.Option(help="The prompts as JSONL; from the hub where left out.")
    ] = None,
    label: Label = None,
    limit: Limit = None,
    db: Db = DEFAULT_DB,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Instructions that a program can verify: strict and loose, per prompt and instruction."""
    _run(
        "ifeval", recipe, set_, db, json, {"language": language, "data": data}, limit, label,
        model=model, base_url=base_url, api_key_env=api_key_env,
    )  # fmt: skip


@eval_app.command("alpaca")
def alpaca(
    recipe: Recipe = None,
    model: Model = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    judge: Judge = None,
    judge_url: JudgeUrl = None,
    judge_key_env: JudgeKeyEnv = None,
    baseline_outputs: Annotated[
        str | None, typer.Option(help="The baseline's model_outputs.json; else from the hub.")
    ] = None,
    difficulty_file: Annotated[
        str | None, typer.Option(help="The difficulty table or df_gamed.csv; else from the hub.")
    ] = None,
    label: Label = None,
    limit: Limit = None,
    db: Db = DEFAULT_DB,
    set_: Set = None,
    json: Json = False,
) -> None:
    """AlpacaEval 2: win rate against GPT-4 Turbo, also with length controlled."""
    _run(
        "alpaca", recipe, set_, db, json,
        {"baseline_outputs": baseline_outputs, "difficulty_file": difficulty_file}, limit, label,
        model=model, base_url=base_url, api_key_env=api_key_env,
        judge=judge, judge_url=judge_url, judge_key_env=judge_key_env,
    )  # fmt: skip


@eval_app.command("mtbench")
def mtbench(
    recipe: Recipe = None,
    model: Model = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    judge: Judge = None,
    judge_url: JudgeUrl = None,
    judge_key_env: JudgeKeyEnv = None,
    data: Annotated[
        str | None, typer.Option(help="question.jsonl; from the hub where left out.")
    ] = None,
    references_file: Annotated[
        str | None, typer.Option(help="FastChat's reference_answer/gpt-4.jsonl.")
    ] = None,
    label: Label = None,
    limit: Limit = None,
    db: Db = DEFAULT_DB,
    set_: Set = None,
    json: Json = False,
) -> None:
    """MT-Bench: eighty questions in two turns, each answer graded from 1 to 10."""
    _run(
        "mtbench", recipe, set_, db, json, {"data": data, "references_file": references_file},
        limit, label, model=model, base_url=base_url, api_key_env=api_key_env,
        judge=judge, judge_url=judge_url, judge_key_env=judge_key_env,
    )  # fmt: skip


@eval_app.command("sql")
def sql(
    recipe: Recipe = None,
    model: Model = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    data: Annotated[
        str | None, typer.Option(help="Questions with gold queries: CSV, JSONL, or a folder.")
    ] = None,
    label: Label = None,
    limit: Limit = None,
    db: Db = DEFAULT_DB,
    set_: Set = None,
    json: Json = False,
) -> None:
    """SQL completion: schema and partial query in, the completed query is run and compared."""
    _run(
        "sql", recipe, set_, db, json, {"data": data}, limit, label,
        model=model, base_url=base_url, api_key_env=api_key_env,
    )  # fmt: skip


@eval_app.command("show")
def show(
    id: Annotated[
        str | None, typer.Argument(help="An evaluation's first characters; without it, the list.")
    ] = None,
    item: Annotated[
        str | None, typer.Argument(help="One of its items: every question, answer and verdict.")
    ] = None,
    items: Annotated[bool, typer.Option("--items", help="List the evaluation's items.")] = False,
    db: Db = DEFAULT_DB,
    json: Json = False,
) -> None:
    """List evaluations, or tell one, or the whole story of one of its items."""
    from cli.eval_show import show_command

    raise typer.Exit(show_command(id, item, items, db, json))


eval_app.command("compare")(compare)
eval_app.command("report")(report)


def _run(
    benchmark: str,
    recipe: str | None,
    overrides: list[str] | None,
    db: str,
    json: bool,
    section: dict[str, str | None],
    limit: int | None,
    label: str | None,
    **roles: str | None,
) -> None:
    from cli.eval import eval_command

    options: dict[str, Any] = {name: value for name, value in section.items() if value is not None}
    document: dict[str, Any] = {benchmark: options} if options else {}
    if limit is not None:
        document["limit"] = limit
    if label is not None:
        document["label"] = label
    raise typer.Exit(eval_command(benchmark, recipe, overrides or [], document, roles, db, json))
