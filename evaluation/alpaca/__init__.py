"""AlpacaEval 2: a model's answers against GPT-4 Turbo's, judged in pairs, length controlled."""
