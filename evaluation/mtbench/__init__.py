"""MT-Bench: eighty questions in two turns, each answer graded from 1 to 10."""
