"""The four agents of DistilQwen2.5 (arXiv 2504.15027): expansion, rewriting, selection,
verification. Each module holds one agent: its settings, its answer's schema, and what it does."""
