"""What a recipe will need, from configurations alone: memory, tokens, hours, cost."""
