"""The store of teacher rows: codec, memory-mapped shards, their index, and what they are worth."""
