"""A corpus of any size, made by bulk SQL in a few minutes per million samples.

In: a database and a number of samples. Out: its seeds, samples, scores, verdicts, calls and the
responses' completions. Column by column the rows look like a run's; they are made of numbers, so
that every size has the same shares: 8 % rejected by a check, 1 % held, one in 2,000 for a rare
reason, one in 1,000 with the word 'lighthouse', one in 500 by a second teacher, one in 20 after a
failed attempt. The recipe is the quickstart's; its prompts were others then, so that everything is
stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlmodel import SQLModel

from benchmarks.support import CHECKOUT
from graph.recipe import load_recipe
from storage.database import Database

SAMPLES_PER_SEED = 4
RESPONSE_PROMPT = "9e3779b60000000500000000000000a1"
_PROMPTS = {
    "expansion": ("expansion/expand", "85ebca6b000000050000000000000000"),
    "rewriting": ("rewriting/rewrite", "c2b2ae35000000050000000000000000"),
    "response": ("rewriting/respond", RESPONSE_PROMPT),
    "selection": ("selection/score", "27d4eb2f000000050000000000000000"),
    "verification": ("verification/judge", "165667b1000000050000000000000000"),
}
_CATEGORIES = (
    "math", "code", "writing", "qa", "logic", "sql", "translation", "summarization", "extraction",
    "classification", "brainstorming", "planning", "chat", "other",
)  # fmt: skip
_LANGUAGES = ("en", "ja", "zh")
_PROSE = (
    "The answer follows from what is given, step by step, and each step says what it rests on. "
)


def make_corpus(db: str, samples: int) -> bool:
    """Fills an empty or missing database; whether there was anything to do. A corpus of that size
    that was made before is left as it is.

    Raises:
        ValueError: the database holds another corpus, or one that was not finished.
    """
    database = Database.open(db, create=True)
    try:
        with database.read() as connection:
            runs = [tuple(row) for row in connection.exec_driver_sql(
                "SELECT recipe, status, calls_made FROM run")]  # fmt: skip
        if runs == [("large", "finished", samples)]:
            return False
        if runs:
            raise ValueError(f"{database.name} holds something else than {samples} such samples")
        _fill(database, samples)
    finally:
        database.close()
    return True


def _fill(database: Database, samples: int) -> None:
    """Writes the tables one by one, and their indexes when the rows are there."""
    w = _Words(database.is_sqlite)
    indexes = [i for table in SQLModel.metadata.sorted_tables for i in table.indexes]
    with _hasty(database) as connection:
        for index in indexes:
            index.drop(connection)
        connection.commit()
        for statement in (*_rows(w, samples), *(_calls(w, samples))):
            connection.exec_driver_sql(
                statement if database.is_sqlite else statement.replace("%", "%%")
            )
            connection.commit()
        for index in indexes:
            index.create(connection)
            connection.commit()
        connection.execute(
            text("UPDATE run SET status = 'finished', calls_made = :samples"), {"samples": samples}
        )
        connection.commit()
    if not database.is_sqlite:
        # What autovacuum does sooner or later; nothing does it to a SQLite file.
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))


@contextmanager
def _hasty(database: Database) -> Iterator[Connection]:
    """A connection that checks no foreign keys and waits for no disk."""
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET session_replication_role = replica")
            connection.exec_driver_sql("SET maintenance_work_mem = '512MB'")
            yield connection
            return
        driver = connection.connection.driver_connection
        assert driver is not None
        for setting in ("foreign_keys=OFF", "journal_mode=OFF", "synchronous=OFF",
                        "cache_size=-1000000"):  # fmt: skip
            driver.execute(f"PRAGMA {setting}")
        yield connection
        driver.execute("PRAGMA journal_mode=WAL")


class _Words:
    """The few expressions that differ between SQLite and PostgreSQL; `n` is a row's number."""

    def __init__(self, is_sqlite: bool) -> None:
        self._sqlite = is_sqlite

    def numbers(self, count: int) -> str:
        """A table `numbers(n)` with 0 to count - 1, to stand before SELECT."""
        if self._sqlite:
            return (
                "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers "
                f"WHERE n < {count - 1}) "
            )
        return f"WITH numbers AS (SELECT n FROM generate_series(0, {count - 1}) AS n) "

    def identifier(self, kind: int, number: str) -> str:
        """32 digits that only this kind and number have, in no order."""
        mixed = f"(({number}) * 2654435761 + {kind}) % 4294967296"
        if self._sqlite:
            return f"printf('%08x%08x%016x', {mixed}, {kind}, {number})"
        parts = ((mixed, 8), (str(kind), 8), (number, 16))
        return " || ".join(f"lpad(to_hex(({part})::bigint), {n}, '0')" for part, n in parts)

    def moment(self, number: str) -> str:
        """Times a tenth of a second apart, up to now."""
        if self._sqlite:
            return (
                f"strftime('%Y-%m-%d %H:%M:%f', 1790000000 + ({number}) / 10.0, 'unixepoch') "
                "|| '000'"
            )
        return f"to_timestamp(1790000000 + ({number}) / 10.0)"

    def of(self, words: tuple[str, ...], number: str) -> str:
        """One of the words by number."""
        cases = " ".join(f"WHEN {place} THEN '{word}'" for place, word in enumerate(words))
        return f"CASE ({number}) % {len(words)} {cases} END"

    def true(self, condition: str) -> str:
        """A condition as a column's value."""
        return f"CASE WHEN {condition} THEN 1 ELSE 0 END" if self._sqlite else f"({condition})"

    def json(self, value: str) -> str:
        """A string expression as a JSON column's value."""
        return value if self._sqlite else f"({value})::json"


def _rows(w: _Words, samples: int) -> Iterator[str]:
    """Everything but calls, in the order of the tables."""
    run, seed = w.identifier(1, "0"), w.identifier(2, f"n / {SAMPLES_PER_SEED}")
    sample, simulated = w.identifier(3, "n"), w.true("1 = 1")
    seeds = -(-samples // SAMPLES_PER_SEED)
    status = (
        "CASE WHEN n % 100 = 7 THEN 'held' WHEN n % 2000 = 11 THEN 'failed' "
        "WHEN n % 100 < 9 THEN 'rejected' ELSE 'accepted' END"
    )
    reason = (
        "CASE WHEN n % 100 = 7 THEN 'human_review' WHEN n % 2000 = 11 THEN 'timed_out' "
        "WHEN n % 100 < 9 THEN 'verification_failed' ELSE 'verified' END"
    )
    category, language = w.of(_CATEGORIES, "n / 3"), w.of(_LANGUAGES, "n")
    word = "CASE WHEN n % 1000 = 13 THEN 'lighthouse' ELSE 'harbour' END"
    score = "(n % 10) + (n / 7) % 10 + (n / 11) % 10"
    recipe = load_recipe(CHECKOUT / "recipes" / "quickstart").model_copy(update={"name": "large"})
    recipe_text = recipe.text().replace("'", "''")
    yield (
        f"INSERT INTO run (id, recipe, recipe_hash, recipe_text, status, reason, calls_made, "
        f"calls_cached, prompt_tokens, completion_tokens, started_at, ended_at) VALUES ({run}, "
        f"'large', '{recipe.hash()}', '{recipe_text}', 'running', NULL, 0, 0, 0, 0, "
        f"{w.moment('0')}, {w.moment(str(samples))})"
    )
    for name, hash in _PROMPTS.values():
        yield (
            "INSERT INTO prompt (hash, name, version, text, first_used_at) VALUES "
            f"('{hash}', '{name}', '1', 'Answer.', {w.moment('0')})"
        )
    yield (
        f"{w.numbers(seeds)} INSERT INTO seed (id, recipe, family_id, ordinal, source, row, "
        "source_shape, instruction, input, category, language, shaped_by, status, reason, "
        f"created_at, updated_at) SELECT {w.identifier(2, 'n')}, 'large', {w.identifier(2, 'n')}, "
        f"n, 'seeds.jsonl', n, 'plain', 'Seed ' || n, '', {category}, {language}, "
        f"{w.json(_quoted(_SEED_SHAPE))}, 'done', 'expanded', {w.moment('n * 4')}, "
        f"{w.moment('n * 4 + 3')} FROM numbers"
    )
    yield (
        f"{w.numbers(samples)} INSERT INTO sample (id, recipe, seed_id, family_id, run_id, "
        "origin, variant, round, category, language, instruction, input, response, fingerprint, "
        "status, reason, simulated, allows_training, terms, shaped_by, created_at, updated_at, "
        f"score_total, responder, response_prompt) SELECT {sample}, 'large', {seed}, {seed}, "
        f"{run}, 'expansion', n % {SAMPLES_PER_SEED}, 0, {category}, {language}, "
        f"'Describe the ' || {word} || ' of the town ' || n || '.', '', '{_PROSE * 6}' || n, "
        f"{w.identifier(4, 'n')}, {status}, {reason}, {simulated}, 'false', "
        f"{w.json(_quoted('[]'))}, {w.json(_quoted(_SHAPE))}, {w.moment('n')}, {w.moment('n')}, "
        f"{score}, {_teacher()}, 'rewriting/respond#{RESPONSE_PROMPT[:12]}' FROM numbers"
    )
    yield (
        f"{w.numbers(samples)} INSERT INTO score (sample_id, label, informativeness, helpfulness, "
        f"generalisation, rationale, created_at) SELECT {sample}, 'scored', n % 10, (n / 7) % 10, "
        f"(n / 11) % 10, 'It teaches.', {w.moment('n')} FROM numbers"
    )
    for name, kind, evidence in (("duplicate", "gate", _SEEN), ("judge", "judge", _EVIDENCE)):
        yield (
            f"{w.numbers(samples)} INSERT INTO verdict (sample_id, name, kind, label, evidence, "
            f"created_at) SELECT {sample}, '{name}', '{kind}', 'pass', "
            f"{w.json(_quoted(evidence))}, {w.moment('n')} FROM numbers"
        )
    yield (
        f"{w.numbers(samples)} INSERT INTO completion (key, request, content, finish_reason, "
        f"model, prompt_tokens, completion_tokens, simulated, created_at) SELECT "
        f"{w.identifier(6, 'n')}, {w.json(_quoted(_REQUEST))}, '{_PROSE * 6}' || n, 'stop', "
        f"'large-model', 200, 120, {simulated}, {w.moment('n')} FROM numbers"
    )


def _calls(w: _Words, samples: int) -> Iterator[str]:
    """What every sample was asked, its seed's expansion, and the attempts that failed."""
    sample = w.identifier(3, "n")
    yield _call(w, -(-samples // SAMPLES_PER_SEED), "expansion", 10, "n", "NULL")
    for place, agent in enumerate(("rewriting", "response", "selection", "verification")):
        yield _call(w, samples, agent, 11 + place, f"n / {SAMPLES_PER_SEED}", sample)
    yield _call(w, samples, "response", 20, f"n / {SAMPLES_PER_SEED}", sample, failed=True)


def _call(
    w: _Words, count: int, agent: str, kind: int, seed: str, sample: str, failed: bool = False
) -> str:
    name, hash = _PROMPTS[agent]
    # Only responses have a completion that is looked at.
    key = w.identifier(6 if agent == "response" else 7, "n")
    attempt = "CASE WHEN n % 20 = 0 THEN 2 ELSE 1 END" if agent == "response" else "1"
    attempt = "1" if failed else attempt
    came = ("NULL, NULL, NULL, 0, NULL, NULL, 'server_error'" if failed else
            "200, 120, 0.0001, 320, 0.2 + (n % 97) / 50.0, 'stop', NULL")  # fmt: skip
    return (
        f"{w.numbers(count)} INSERT INTO agent_call (id, run_id, recipe, seed_id, sample_id, "
        "agent, round, prompt_name, prompt_version, prompt_hash, teacher, model, endpoint, "
        "parameters, request_key, cached, attempt, prompt_tokens, completion_tokens, cost_usd, "
        "charged_tokens, latency_s, finish_reason, error_type, created_at) SELECT "
        f"{w.identifier(kind, 'n')}, {w.identifier(1, '0')}, 'large', {w.identifier(2, seed)}, "
        f"{sample}, '{agent}', 0, '{name}', '1', '{hash}', {_teacher()}, 'large-model', "
        f"'http://127.0.0.1/v1', {w.json(_quoted(_PARAMETERS))}, {key}, {w.true('1 = 0')}, "
        f"{attempt}, {came}, {w.moment('n')} FROM numbers"
        f"{' WHERE n % 20 = 0' if failed else ''}"
    )


def _teacher() -> str:
    return "CASE WHEN n % 500 = 3 THEN 'second' ELSE 'first' END"


def _quoted(words: str) -> str:
    return f"'{words}'"


def _shape(**prompts: str) -> str:
    """A lineage as JSON: each step with its prompt's name, the hash in short, and a digest."""
    steps = (f'"{step}":"{name}#{hash[:12]}#{step[0] * 8}"' for step, (name, hash) in
             ((step, _PROMPTS[agent]) for step, agent in prompts.items()))  # fmt: skip
    return "{" + ",".join(steps) + "}"


_SEED_SHAPE = _shape(expand="expansion")
_SHAPE = _shape(rewrite="rewriting", respond="response", select="selection", verify="verification")
_SEEN = '{"fingerprint":"0000000000000000"}'
_EVIDENCE = '{"correct":true,"evidence":"It holds."}'
_REQUEST = '{"messages":[{"role":"user","content":"Answer the instruction."}],"schema":null}'
_PARAMETERS = '{"temperature":0.7,"max_tokens":1024}'
