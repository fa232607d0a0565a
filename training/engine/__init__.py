"""The DeepSpeed engine: launching ranks, the training loop, checkpoints, saving."""
