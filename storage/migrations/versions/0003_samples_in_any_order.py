"""Samples in any order: who wrote the response, with which prompt, the score, and their indexes.

Revision: 0003, after 0002. The three columns repeat what calls and scores say, so that a list of a
million samples can be sorted and filtered by them through an index.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INDEXED = (
    "updated_at", "status", "reason", "category", "language", "round", "score_total", "responder",
    "response_prompt",
)  # fmt: skip
_RESPONSE = """
    (SELECT {what} FROM agent_call WHERE sample_id = sample.id AND agent = 'response'
     AND error_type IS NULL ORDER BY created_at DESC, id DESC LIMIT 1)
"""


def upgrade() -> None:
    op.add_column("sample", sa.Column("score_total", sa.Integer(), nullable=True))
    op.add_column("sample", sa.Column("responder", sa.String(), nullable=True))
    op.add_column("sample", sa.Column("response_prompt", sa.String(), nullable=True))
    op.execute(
        "UPDATE sample SET score_total = (SELECT informativeness + helpfulness + generalisation "
        "FROM score WHERE sample_id = sample.id)"
    )
    prompt = "prompt_name || '#' || substr(prompt_hash, 1, 12)"
    op.execute(
        f"UPDATE sample SET responder = {_RESPONSE.format(what='teacher')}, "
        f"response_prompt = {_RESPONSE.format(what=prompt)} WHERE response IS NOT NULL"
    )
    for column in _INDEXED:
        op.create_index(f"ix_sample_{column}", "sample", [column, "id"], unique=False)
    op.create_index("ix_agent_call_prompt_hash", "agent_call", ["prompt_hash", "sample_id"])


def downgrade() -> None:
    op.drop_index("ix_agent_call_prompt_hash", "agent_call")
    for column in reversed(_INDEXED):
        op.drop_index(f"ix_sample_{column}", "sample")
    with op.batch_alter_table("sample", schema=None) as batch_op:
        for column in ("response_prompt", "responder", "score_total"):
            batch_op.drop_column(column)
