"""A world of small tasks: eight families in English and Japanese, exact answers, stated choice."""
