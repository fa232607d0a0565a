"""PostgreSQL: calls by their times, so that what is new is found without reading the whole table.

Revision: 0004, after 0003. SQLite numbers its rows in the order of writing and
needs no index for it.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.create_index("ix_agent_call_created", "agent_call", ["created_at"])


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_agent_call_created", "agent_call")
