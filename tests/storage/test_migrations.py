"""Schema versions: the migrations and the models say the same, and an upgrade loses nothing."""

from __future__ import annotations

import shutil
import sqlite3
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from conftest import CorpusMaker
from sqlalchemy import create_engine, inspect, text
from sqlmodel import SQLModel

from cli.database import upgrade_command
from storage import migrate
from storage.database import Database, parse_url
from storage.doctor import examine
from storage.errors import DatabaseBusy, DatabaseUnreadable, SchemaMismatch, StorageError
from storage.sample_filters import SampleFilter
from storage.sample_list import list_samples
from storage.schema import SCHEMA_VERSION

# Indexes that only the other kind of database has; what compares does not know of them.
_ELSEWHERE = {"sqlite": {"ix_agent_call_created"}, "postgresql": set[str]()}


def differences(database: Database) -> list[Any]:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found: list[Any] = compare_metadata(context, SQLModel.metadata)
    elsewhere = _ELSEWHERE[database.engine.dialect.name]
    return [one for one in found if one[0] != "add_index" or one[1].name not in elsewhere]


def constraints(database: Database) -> dict[str, Any]:
    """What autogenerate does not compare: primary keys, checks, foreign keys, nullability."""
    inspector = inspect(database.engine)
    return {
        table: {
            "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
            "checks": sorted(c["sqltext"] for c in inspector.get_check_constraints(table)),
            "foreign keys": sorted(
                (*key["constrained_columns"], key["referred_table"])
                for key in inspector.get_foreign_keys(table)
            ),
            "columns": [(c["name"], str(c["type"]), c["nullable"])
                        for c in inspector.get_columns(table)],
        }
        for table in sorted(inspector.get_table_names())
    }  # fmt: skip


@pytest.fixture
def migrated(tmp_path: Path, request: pytest.FixtureRequest, database: Database) -> Any:
    """A database that the migrations brought up from nothing, on `database`'s engine."""
    if database.is_sqlite:
        url = parse_url(str(tmp_path / "migrated.db"))
    else:
        with database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(
                text("CREATE DATABASE migrated")
            )
        url = database.url.set(database="migrated")
    made = Database(url, create_engine(url))
    migrate.upgrade(made.engine)
    yield made
    made.close()
    if not database.is_sqlite:
        with database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(
                text("DROP DATABASE migrated WITH (FORCE)")
            )


def test_the_migrations_make_exactly_the_models_tables(migrated: Database) -> None:
    assert differences(migrated) == []


def test_a_new_corpus_has_exactly_the_models_tables(database: Database) -> None:
    assert differences(database) == []


def test_migrating_up_from_nothing_and_making_anew_come_to_the_same(
    database: Database, migrated: Database
) -> None:
    assert constraints(database) == constraints(migrated)


def test_only_postgresql_has_an_index_on_the_times_of_calls(
    database: Database, migrated: Database
) -> None:
    for one in (database, migrated):
        names = {index["name"] for index in inspect(one.engine).get_indexes("agent_call")}
        assert ("ix_agent_call_created" in names) is not database.is_sqlite


def test_a_new_corpus_is_stamped_with_the_last_migration() -> None:
    assert migrate.head_revision() == SCHEMA_VERSION


def test_an_upgrade_of_a_current_corpus_changes_nothing(
    database: Database, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed())
    migrate.upgrade(database.engine)
    assert examine(database).samples == {"accepted": 1}


def test_a_corpus_of_the_first_version_comes_up_with_its_rows(tmp_path: Path) -> None:
    url = parse_url(str(tmp_path / "old.db"))
    engine = create_engine(url)
    config = migrate.alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    old = Database(url, engine)
    maker = CorpusMaker(old)
    sample = maker.sample(maker.seed())
    maker.end_run()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    assert "responder" not in {c["name"] for c in inspect(engine).get_columns("sample")}
    old.close()
    assert upgrade_command(str(tmp_path / "old.db")) == 0
    database = Database.open(str(tmp_path / "old.db"))
    report = examine(database)
    assert report.ok and report.samples == {"accepted": 1}
    assert differences(database) == []
    with database.read() as connection:
        listed = list_samples(connection, SampleFilter()).rows
    assert [(row.id, row.score, row.teacher, row.prompt) for row in listed] == [
        (sample, 16, "big", f"response/prompt#{'ab' * 6}")
    ]
    database.close()


_NEXT = '''
    """A later version: one more column, and a table made anew."""

    import sqlalchemy as sa
    from alembic import op

    revision = "9998"
    down_revision = "{head}"
    branch_labels = None
    depends_on = None


    def upgrade() -> None:
        with op.batch_alter_table("seed", recreate="auto") as batch:
            batch.add_column(sa.Column("mood", sa.Text(), nullable=False, server_default="calm"))
            batch.alter_column("licence", type_=sa.Text())
        {more}


    def downgrade() -> None:
        raise NotImplementedError
'''


@pytest.fixture
def newer_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """This program with one more migration; called with what else that one does."""
    folder = tmp_path / "migrations"
    original = migrate._SCRIPTS
    head = migrate.head_revision()

    def install(more: str = "pass") -> None:
        shutil.copytree(original, folder, ignore=shutil.ignore_patterns("__pycache__"))
        script = textwrap.dedent(_NEXT).lstrip().format(head=head, more=more)
        (folder / "versions" / "9998_mood.py").write_text(script)
        monkeypatch.setattr("storage.migrate._SCRIPTS", folder)
        for module in ("storage.database", "storage.schema", "cli.database"):
            monkeypatch.setattr(f"{module}.SCHEMA_VERSION", "9998")
        migrate.head_revision.cache_clear()
        migrate.known_revisions.cache_clear()

    yield install
    migrate.head_revision.cache_clear()
    migrate.known_revisions.cache_clear()


@pytest.fixture
def old_corpus(database_url: str) -> str:
    """A closed corpus of this program's version with a sample in it."""
    database = Database.open(database_url, create=True)
    maker = CorpusMaker(database)
    maker.sample(maker.seed())
    maker.end_run()
    database.close()
    return database_url


def test_an_upgrade_keeps_every_row_and_says_from_where_to_where(
    old_corpus: str, newer_program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    newer_program()
    with pytest.raises(SchemaMismatch, match="9998"):
        Database.open(old_corpus)
    assert upgrade_command(old_corpus) == 0
    assert f"from schema version {SCHEMA_VERSION} to 9998" in capsys.readouterr().out
    database = Database.open(old_corpus)
    with database.read() as connection:
        assert connection.execute(text("SELECT mood FROM seed")).scalar_one() == "calm"
    report = examine(database)
    assert report.ok and report.samples == {"accepted": 1}
    database.close()


def test_an_upgrade_of_a_sqlite_file_copies_it_first(tmp_path: Path, newer_program: Any) -> None:
    path = tmp_path / "corpus.db"
    database = Database.open(str(path), create=True)
    CorpusMaker(database).seed("Only in the write-ahead log so far.")
    # The file stays open, so that the log is not yet folded into it.
    newer_program()
    upgrade_command(str(path))
    database.close()
    copy = tmp_path / f"corpus.db.bak-{SCHEMA_VERSION}"
    with closing(sqlite3.connect(copy)) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        (instruction,) = connection.execute("SELECT instruction FROM seed").fetchone()
    assert version == SCHEMA_VERSION
    assert instruction == "Only in the write-ahead log so far."


def test_an_earlier_copy_is_never_overwritten(tmp_path: Path, newer_program: Any) -> None:
    path = tmp_path / "corpus.db"
    Database.open(str(path), create=True).close()
    taken = tmp_path / f"corpus.db.bak-{SCHEMA_VERSION}"
    taken.write_text("precious")
    newer_program()
    upgrade_command(str(path))
    assert taken.read_text() == "precious"
    assert (tmp_path / f"corpus.db.bak-{SCHEMA_VERSION}-2").is_file()


def test_an_upgrade_that_fails_midway_leaves_the_corpus_as_it_was(
    old_corpus: str, newer_program: Any
) -> None:
    newer_program(more="op.execute('INSERT INTO run (id) VALUES (NULL)')")
    with pytest.raises(StorageError, match="refused a statement"):
        upgrade_command(old_corpus)
    database, version = Database.open_any_version(old_corpus)
    assert version == SCHEMA_VERSION
    with database.read() as connection:
        columns = {column["name"] for column in inspect(connection).get_columns("seed")}
    assert "mood" not in columns
    database.close()


def test_an_upgrade_waits_for_no_run_but_refuses(old_corpus: str, newer_program: Any) -> None:
    holder, _ = Database.open_any_version(old_corpus)
    newer_program()
    with holder.run_lock(), pytest.raises(DatabaseBusy):
        upgrade_command(old_corpus)
    holder.close()
    database, version = Database.open_any_version(old_corpus)
    assert version == SCHEMA_VERSION
    database.close()


def test_a_current_corpus_needs_no_upgrade(
    old_corpus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upgrade_command(old_corpus) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_newer_corpus_is_not_upgraded(old_corpus: str) -> None:
    database = Database.open(old_corpus)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(SchemaMismatch, match="9999"):
        upgrade_command(old_corpus)


def test_what_is_no_corpus_is_not_upgraded(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreadable, match="There is no corpus"):
        upgrade_command(str(tmp_path / "nothing.db"))
    (tmp_path / "empty.db").touch()
    with pytest.raises(DatabaseUnreadable, match="holds no corpus"):
        upgrade_command(str(tmp_path / "empty.db"))
