"""The corpus in SQL: tables, migrations, the one writer, the questions asked of it, and export."""
