"""The recipe's section `sql`: what the user sets about SQL completion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from evaluation.sql.cutting import FRACTIONS
from evaluation.sql.outcome import Limits

Fraction = Annotated[float, Field(ge=0, lt=1)]


class SqlSettings(BaseModel):
    """See `evaluation.sql.completion`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(description="a .csv or .jsonl of rows, or a folder of CSVs")
    schema_folder: str | None = Field(
        default=None, description="where <db_name>.sql lies; else schema/ beside the rows"
    )
    schema_dialect: str = Field(default="postgres", description="as sqlglot names it")
    gold_dialect: Literal["sqlite", "postgres"] = "sqlite"
    backend: Literal["sqlite", "postgresql"] = "sqlite"
    postgres_url: str | None = Field(
        default=None, description="a database whose role may create databases and roles"
    )
    fractions: tuple[Fraction, ...] = Field(
        default=FRACTIONS, min_length=1, description="of a gold query that the user has typed"
    )
    question: bool = Field(default=True, description="show the model what the user wants")
    time_limit_s: float = Field(default=5.0, gt=0, le=600, description="of one query")
    max_rows: int = Field(default=50_000, ge=1, le=1_000_000)
    max_tokens: int = Field(default=512, ge=16, description="of one answer")

    @property
    def limits(self) -> Limits:
        """What one query may take."""
        return Limits(seconds=self.time_limit_s, rows=self.max_rows)
