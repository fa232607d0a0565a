"""The objectives of top-k distillation and the one fused linear-and-loss that serves them all."""
