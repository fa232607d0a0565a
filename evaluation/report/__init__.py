"""Evaluations side by side: intervals, comparisons, pictures and one page of HTML."""
