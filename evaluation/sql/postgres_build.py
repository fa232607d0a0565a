"""Makes and drops the PostgreSQL databases of a benchmark, and the role that reads them.

Needs a role that may create databases and roles; with a superuser, functions that reach beyond a
query (settings, advisory locks, sleeping, large objects, the log, ending other queries) are
withdrawn from everybody in these databases, and temporary files are bounded. Text sorts by code
point and LOWER knows ASCII only, as in SQLite; the time zone is UTC.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from evaluation.sql.databases import not_built
from evaluation.sql.ddl import create_table, insert
from evaluation.sql.errors import SqlDatabaseError
from evaluation.sql.schema import Schema

_WITHDRAWN = """
SELECT oid::regprocedure::text FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND (
    proname IN ('set_config', 'pg_sleep', 'pg_sleep_for', 'pg_sleep_until', 'pg_cancel_backend',
        'pg_terminate_backend', 'pg_notify', 'nextval', 'setval', 'query_to_xml',
        'query_to_xmlschema', 'query_to_xml_and_xmlschema', 'cursor_to_xml', 'table_to_xml',
        'schema_to_xml', 'database_to_xml', 'ts_stat', 'pg_logical_emit_message',
        'pg_export_snapshot')
    OR proname LIKE 'pg\\_advisory%' OR proname LIKE 'pg\\_try\\_advisory%'
    OR proname LIKE 'lo\\_%' OR proname IN ('loread', 'lowrite')
    OR proname LIKE 'pg\\_read\\_%' OR proname LIKE 'pg\\_ls\\_%')
"""
_SETTINGS = {
    "default_transaction_read_only": "on", "timezone": "UTC", "work_mem": "16MB",
    "statement_timeout": "60s", "idle_in_transaction_session_timeout": "60s",
    "max_parallel_workers_per_gather": "0", "client_connection_check_interval": "1s",
}  # fmt: skip


class PostgresBuild:
    """Databases of one evaluation, in a `with`; they and the reading role are dropped at its end.

    Args:
        url: a database of the server, as `postgresql://user:password@host:port/name`.
        mark: keeps the names of concurrent evaluations apart.
    """

    def __init__(self, url: str, mark: str) -> None:
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._mark = mark
        self._reader = f"stillhouse_reader_{mark}"
        self._password = secrets.token_urlsafe(24)
        self._made: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._admin = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
        except psycopg.Error as error:
            raise SqlDatabaseError(
                "PostgreSQL does not answer.",
                cause=str(error).strip().splitlines()[0],
                solution="Start the server, or correct the URL.",
            ) from error
        try:
            self._make_reader()
        except psycopg.Error as error:
            # Where the role was made and one of its settings was refused.
            with contextlib.suppress(psycopg.Error):
                self._drop_reader()
            self._admin.close()
            raise SqlDatabaseError(
                "The role that would run untrusted queries could not be made.",
                cause=str(error).strip().splitlines()[0],
                solution="Give the URL of a role that may create databases and roles.",
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        for name in self._made:
            self._admin.execute(drop.format(sql.Identifier(name)))
        self._drop_reader()
        self._admin.close()

    def build(self, schema: Schema) -> str:
        """Makes the database of `schema`; how the reading role connects to it.

        Raises:
            SqlDatabaseError: rows break a key of their table.
        """
        name = f"stillhouse_sql_{self._mark}_{len(self._made)}"
        try:
            self._make_database(name)
            with psycopg.connect(make_conninfo(self._url, dbname=name)) as connection:
                self._fill(connection, schema)
                self._lock(connection, name)
        except psycopg.Error as error:
            raise not_built(schema, "PostgreSQL", error) from error
        return make_conninfo(
            self._url, dbname=name, user=self._reader, password=self._password,
            application_name="stillhouse eval sql",
        )  # fmt: skip

    def _make_reader(self) -> None:
        role, password = sql.Identifier(self._reader), sql.Literal(self._password)
        make = "CREATE ROLE {} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}"
        self._admin.execute(sql.SQL(make).format(role, password))
        change = sql.SQL("ALTER ROLE {} SET {} = {}")
        settings = dict(_SETTINGS)
        if self._is_superuser():
            settings["temp_file_limit"] = "256MB"
        for name, value in settings.items():
            self._admin.execute(change.format(role, sql.Identifier(name), sql.Literal(value)))

    def _drop_reader(self) -> None:
        self._admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(self._reader)))

    def _is_superuser(self) -> bool:
        return self._admin.info.parameter_status("is_superuser") == "on"

    def _make_database(self, name: str) -> None:
        self._made.append(name)
        self._admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' "
                    "LC_CTYPE 'C'").format(sql.Identifier(name))
        )  # fmt: skip

    def _fill(self, connection: psycopg.Connection, schema: Schema) -> None:
        for table in schema.tables:
            connection.execute(create_table(table, "postgresql").encode())
            with connection.cursor() as cursor:
                cursor.executemany(insert(table, "postgresql").encode(), table.rows)
        connection.execute("ANALYZE")

    def _lock(self, connection: psycopg.Connection, name: str) -> None:
        """The reader may connect and read, and nobody may do what a query never needs."""
        role, database = sql.Identifier(self._reader), sql.Identifier(name)
        owned = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)
        connection.execute(owned)
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role))
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))
        grant = sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}")
        connection.execute(grant.format(role))
        if self._is_superuser():
            for (function,) in connection.execute(_WITHDRAWN).fetchall():
                withdraw = f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC"
                connection.execute(withdraw.encode())
