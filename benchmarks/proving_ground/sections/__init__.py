"""The parts of the proving ground's report, one per question; each gives lines of Markdown."""
