"""Teacher backends and what surrounds a call: retries, limits, budget, pricing, terms, cache."""
