"""Forks: one seed walked again from some agent on, with another teacher or an edited prompt.

A fork is a corpus of its own, in a folder of its own; the corpus it came from is only read.
"""
