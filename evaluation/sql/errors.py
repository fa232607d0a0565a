"""The errors that a user of the SQL benchmark can cause, each with its cause and solution."""

from __future__ import annotations

from evaluation.errors import EvaluationError


class SqlBenchmarkError(EvaluationError):
    """A benchmark file or schema that cannot be used as it is."""

    code = "sql_benchmark"


class SqlDatabaseError(EvaluationError):
    """A database that could not be built, or a server that does not answer."""

    code = "sql_database"


class Untranslatable(EvaluationError):
    """A SQLite query that has no translation to PostgreSQL here."""

    code = "sql_untranslatable"
