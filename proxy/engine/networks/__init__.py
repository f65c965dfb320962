"""Feed-forward neural networks: their training, and their scoring."""
