"""IFEval: instructions whose following a program can verify, in English and Japanese."""
