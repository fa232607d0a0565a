"""Scoring stored responses with a teacher: engines, the key of a capture, and its progress."""
