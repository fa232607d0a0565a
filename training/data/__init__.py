"""From an exported corpus to packed micro-batches: reading, rendering, splitting, packing."""
