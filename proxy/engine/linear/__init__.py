"""Models that are a sum of columns, or of their products, and how their sums are minimised."""
