"""The trainer: capture of teacher log-probabilities, their store, SFT and top-k distillation.

A package of its own: it imports `storage` and `common` only, and runs where LangGraph and LangChain
are not installed.
"""
