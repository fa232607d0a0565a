"""The `stillhouse` command: declares every command and its options, and renders every error.

Command bodies live in their own modules and are imported when called, so that `stillhouse --help`
answers at once.
"""

from __future__ import annotations

import gc
import sys
from typing import Annotated, Any

import typer

from cli.eval_app import eval_app
from common.errors import StillhouseError

app = typer.Typer(
    name="stillhouse",
    help="Turn seed instructions into a traced, verified corpus, and a corpus into a small model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)
teacher_app = typer.Typer(help="Check a teacher, or run a simulated one.", no_args_is_help=True)
prompts_app = typer.Typer(help="List, show and compare prompts.", no_args_is_help=True)
db_app = typer.Typer(help="Look after a corpus database.", no_args_is_help=True)
train_app = typer.Typer(
    help="Train a student: SFT, then distillation from captured teacher rows.",
    no_args_is_help=True,
)
app.add_typer(train_app, name="train")
app.add_typer(eval_app, name="eval")
app.add_typer(teacher_app, name="teacher")
app.add_typer(prompts_app, name="prompts")
app.add_typer(db_app, name="db")

Db = Annotated[
    str,
    typer.Option("--db", envvar="STILLHOUSE_DB", help="SQLite file, or postgresql:// URL."),
]
RecipePath = Annotated[str, typer.Argument(help="A recipe file, or the folder that holds it.")]
OptionalRecipe = Annotated[
    str | None, typer.Option("--recipe", help="A recipe file, or the folder that holds it.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one value, e.g. agents.verification.teacher=api."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]
TrainRecipePath = Annotated[
    str, typer.Argument(help="A training recipe's file, or the folder that holds it.")
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Begin anew; the old files are put aside, not deleted.")
]
DEFAULT_DB = "stillhouse.db"


@app.command()
def run(
    recipe: RecipePath,
    seeds: Annotated[
        list[str] | None, typer.Option("--seeds", help="Seed files instead of the recipe's own.")
    ] = None,
    db: Db = DEFAULT_DB,
    set_: Set = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read and work on at most so many seeds.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a recipe: seeds through the agents into the corpus. The same command resumes."""
    # What start-up makes stays to the end: the collector need not walk through it again and again.
    gc.disable()
    from cli.run import run_command

    raise typer.Exit(run_command(recipe, seeds or [], db, set_ or [], limit, json))


@app.command()
def status(
    db: Db = DEFAULT_DB,
    recipe: OptionalRecipe = None,
    set_: Set = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="What edits have made stale, and what redoing costs.")
    ] = False,
    json: Json = False,
) -> None:
    """Show how far a corpus is: seeds, samples, reasons, calls, tokens, cost."""
    from cli.status import status_command

    raise typer.Exit(status_command(db, recipe, set_ or [], stale, json))


@app.command()
def trace(
    id: Annotated[str, typer.Argument(help="A sample's or seed's id, or its first characters.")],
    db: Db = DEFAULT_DB,
    full: Annotated[bool, typer.Option("--full", help="Leave nothing out.")] = False,
    json: Json = False,
) -> None:
    """Tell a sample's or seed's whole story: every agent, prompt, question, answer and verdict."""
    from cli.trace import trace_command

    raise typer.Exit(trace_command(id, db, full, json))


@app.command()
def export(
    out: Annotated[str, typer.Argument(help="The file to write, or a folder.")],
    db: Db = DEFAULT_DB,
    recipe: Annotated[str | None, typer.Option(help="Only this recipe's samples.")] = None,
    format: Annotated[str, typer.Option(help="messages, alpaca or sharegpt.")] = "messages",
    reasoning: Annotated[
        str, typer.Option(help="Chain of thought: inline, think (tags) or drop.")
    ] = "inline",
    status: Annotated[
        list[str] | None, typer.Option(help="Which samples; accepted unless said otherwise.")
    ] = None,
    allow_simulated: Annotated[
        bool, typer.Option(help="Include samples that a simulated teacher wrote.")
    ] = False,
    terms: Annotated[
        str, typer.Option(help="Teachers' terms to admit: permitted, unknown (too) or any.")
    ] = "unknown",
    json: Json = False,
) -> None:
    """Write accepted samples to a file, with a manifest that leads back to the rows."""
    from cli.export import export_command

    raise typer.Exit(
        export_command(out, db, recipe, format, reasoning, status, allow_simulated, terms, json)
    )


@app.command("export-traces")
def export_traces(
    id: Annotated[
        str | None, typer.Argument(help="Only this sample's or seed's trace; its first characters.")
    ] = None,
    db: Db = DEFAULT_DB,
    endpoint: Annotated[
        str | None,
        typer.Option(help="An OTLP/HTTP receiver; $OTEL_EXPORTER_OTLP_ENDPOINT otherwise."),
    ] = None,
    out: Annotated[str | None, typer.Option(help="A file to write OTLP JSON lines to.")] = None,
    share: Annotated[
        float | None, typer.Option(help="A share of the seeds, always the same ones, e.g. 0.01.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many; 100 where no --share is given.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Only this recipe's seeds.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Only seeds with such a sample, e.g. rejected.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="The receiver's project; the recipe's name otherwise.")
    ] = None,
    no_content: Annotated[
        bool, typer.Option("--no-content", help="Leave out every text; figures and labels stay.")
    ] = False,
    json: Json = False,
) -> None:
    """Send sampled traces to Phoenix, Langfuse or another OpenTelemetry receiver."""
    from cli.export_traces import Asked, export_traces_command

    asked = Asked(id, endpoint, out, share, limit, recipe, status, project, not no_content)
    raise typer.Exit(export_traces_command(db, asked, json))


@app.command()
def doctor(db: Db = DEFAULT_DB, json: Json = False) -> None:
    """Prove from the tables that everything adds up; exit code 1 where it does not."""
    from cli.doctor import doctor_command

    raise typer.Exit(doctor_command(db, json))


@app.command()
def review(
    id: Annotated[str | None, typer.Argument(help="A held sample; without it, the queue.")] = None,
    decision: Annotated[str | None, typer.Argument(help="accept or reject.")] = None,
    db: Db = DEFAULT_DB,
    reviewer: Annotated[str | None, typer.Option(help="Your name.", envvar="USER")] = None,
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
) -> None:
    """List held samples, or decide one; the next run carries the decision out."""
    from cli.review import review_command

    raise typer.Exit(review_command(id, decision, db, reviewer, note))


@app.command()
def fork(
    id: Annotated[
        str | None, typer.Argument(help="A sample or seed; with --list, only its forks.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="The agent to begin at: expansion, rewriting, response, selection, …"
        ),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Who plays that agent, as the recipe calls it.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="A file with that agent's new prompt.")] = None,
    db: Db = DEFAULT_DB,
    list_: Annotated[bool, typer.Option("--list", help="List the forks there are.")] = False,
    show: Annotated[str | None, typer.Option(help="Show this fork beside its original.")] = None,
    drop: Annotated[str | None, typer.Option(help="Delete this fork.")] = None,
    save: Annotated[
        str | None, typer.Option(help="Write this fork's prompt to its file, as a new version.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="With --save: a new prompt of this name, AGENT/NAME.")
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(help="With --save: the hash of a newer text that it may replace."),
    ] = None,
    who: Annotated[str | None, typer.Option(help="Your name.", envvar="USER")] = None,
    forks: Annotated[
        str | None, typer.Option(help="Where forks lie; beside a SQLite file otherwise.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Leave nothing out.")] = False,
    json: Json = False,
) -> None:
    """Ask a sample's agents again with another teacher or prompt; the corpus stays as it is."""
    from cli.fork import Asked, fork_command

    asked = Asked(id, from_, teacher, prompt, list_, show, drop, save, name, who, forks, full, over)
    raise typer.Exit(fork_command(db, asked, json))


@app.command()
def inspect(
    db: Db = DEFAULT_DB,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8321,
    token_env: Annotated[
        str | None,
        typer.Option(help="The environment variable with the token that visitors must show."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further host name under which visitors reach this machine."),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RECIPE", help="A training recipe whose captured teacher rows are shown."
        ),
    ] = None,
) -> None:
    """Show a corpus in the browser: runs, samples, traces, prompts, reviews, evaluations."""
    from cli.inspect import inspect_command

    raise typer.Exit(inspect_command(db, host, port, token_env, allow_host or [], rows or []))


@app.command()
def capture(
    recipe: TrainRecipePath,
    set_: Set = None,
    teacher: Annotated[
        list[str] | None, typer.Option(help="Only this teacher; all that KD stages name.")
    ] = None,
    json: Json = False,
) -> None:
    """Score a corpus with its teachers: the top-k log-probabilities that KD trains on."""
    from cli.capture import capture_command

    raise typer.Exit(capture_command(recipe, set_ or [], teacher or [], json))


@train_app.command("plan")
def train_plan(
    recipe: TrainRecipePath,
    set_: Set = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Training samples; the manifest's rows otherwise.")
    ] = None,
    tokens_per_sample: Annotated[
        int | None, typer.Option(min=2, help="Prompt and response; estimated otherwise.")
    ] = None,
    response_share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of response tokens.")
    ] = None,
    mfu: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="Assumed share of a GPU's peak.")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(help="Dollars per GPU hour, e.g. H100=2.5.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what a recipe will need, from configurations alone: memory, tokens, hours, cost."""
    from cli.train_plan import plan_command

    raise typer.Exit(
        plan_command(
            recipe, set_ or [], samples, tokens_per_sample, response_share, mfu, price or [], json
        )
    )


@train_app.command("sft")
def train_sft(
    recipe: TrainRecipePath, set_: Set = None, restart: Restart = False, json: Json = False
) -> None:
    """Train the recipe's SFT stages; the same command resumes."""
    from cli.train import train_command

    raise typer.Exit(train_command(recipe, set_ or [], "sft", restart, json))


@train_app.command("kd")
def train_kd(
    recipe: TrainRecipePath, set_: Set = None, restart: Restart = False, json: Json = False
) -> None:
    """Train the recipe's KD stages on captured rows; the same command resumes."""
    from cli.train import train_command

    raise typer.Exit(train_command(recipe, set_ or [], "kd", restart, json))


@train_app.command("all")
def train_all(
    recipe: TrainRecipePath, set_: Set = None, restart: Restart = False, json: Json = False
) -> None:
    """Train every stage of the recipe in order; what is done is not redone."""
    from cli.train import train_command

    raise typer.Exit(train_command(recipe, set_ or [], "all", restart, json))


@teacher_app.command("check")
def teacher_check(
    name: Annotated[str, typer.Argument(help="The teacher's name in the recipe.")],
    recipe: Annotated[str, typer.Option(help="The recipe that names it.")] = "recipes/quickstart",
    set_: Set = None,
    json: Json = False,
) -> None:
    """Say in seconds whether a teacher answers, and what it can do."""
    from cli.teacher import check_command

    raise typer.Exit(check_command(name, recipe, set_ or [], json))


@teacher_app.command("simulate")
def teacher_simulate(
    port: Annotated[int, typer.Option(help="0: any free port.")] = 8199,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A rate or setting, e.g. server_error=0.1.")
    ] = None,
) -> None:
    """Serve a simulated teacher until Ctrl-C."""
    from cli.teacher import simulate_command

    raise typer.Exit(simulate_command(port, set_ or []))


@prompts_app.command("list")
def prompts_list(json: Json = False) -> None:
    """List every prompt with its version, hash and purpose."""
    from cli.prompts import list_command

    raise typer.Exit(list_command(json))


@prompts_app.command("show")
def prompts_show(name: Annotated[str, typer.Argument(help="agent/name")]) -> None:
    """Show one prompt."""
    from cli.prompts import show_command

    raise typer.Exit(show_command(name))


@prompts_app.command("diff")
def prompts_diff(
    name: Annotated[str, typer.Argument(help="agent/name")],
    db: Db = DEFAULT_DB,
) -> None:
    """Compare a prompt's file with the version that the corpus was last made with."""
    from cli.prompts import diff_command

    raise typer.Exit(diff_command(name, db))


@db_app.command("upgrade")
def db_upgrade(db: Db = DEFAULT_DB) -> None:
    """Bring a database to this program's schema version."""
    from cli.database import upgrade_command

    raise typer.Exit(upgrade_command(db))


def main(arguments: list[str] | None = None) -> Any:
    """Entry point: runs the app; an error a user can cause is shown with cause and solution."""
    try:
        return app(arguments)
    except StillhouseError as error:
        from cli.show import show_error

        show_error(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
