"""SQL completion: schema and partial query go to a model, the finished query runs and is scored.

`benchmark` reads the rows, `databases` builds what they run against, `boxes` runs untrusted queries
without harm, `scoring` compares results, `adoption` counts saved keystrokes, `run` does it all.
"""
