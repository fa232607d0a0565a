"""What a training run says of itself: metrics, plots, the live display."""
