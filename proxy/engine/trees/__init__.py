"""Models made of trees: one, a forest, or the sum that boosting makes."""
