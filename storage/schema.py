"""The schema version that this code reads and writes, and how a new database gets it at once.

An existing database is brought up by Alembic (`storage.migrate`); a new one has nothing to migrate,
so its tables are created as they are now and stamped. A test holds both ways to the same schema.
"""

from __future__ import annotations

from collections.abc import Set

from sqlalchemy import Connection, Engine, inspect, text
from sqlmodel import SQLModel

import storage.tables  # noqa: F401  (fills SQLModel.metadata)

SCHEMA_VERSION = "0004"
VERSION_TABLE = "alembic_version"
_LOCK_KEY = 0x5711_1405F


def schema_version(connection: Connection, tables: Set[str]) -> str | None:
    """The version that a database with these tables says it has; None where it says nothing."""
    if VERSION_TABLE not in tables:
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def create_schema(engine: Engine) -> None:
    """Creates every table and stamps the version, in one transaction. Of two programs that find a
    new database at the same time, one does it."""
    with (
        engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection,
        connection.begin(),
    ):
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        if inspect(connection).has_table(VERSION_TABLE):
            return
        SQLModel.metadata.create_all(connection)
        connection.execute(
            text(
                f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, "
                f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
            )
        )
        connection.execute(
            text(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (:version)"),
            {"version": SCHEMA_VERSION},
        )
