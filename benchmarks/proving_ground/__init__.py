"""The whole recipe, end to end, on a world of small tasks with exact answers (`make prove`)."""
