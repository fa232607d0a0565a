"""Measures a model on published benchmarks; results are rows that lead back to its training."""
