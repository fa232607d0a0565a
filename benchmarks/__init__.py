"""One script per figure; each takes `--quick` (under 50 s) and ends with one line of JSON."""
