"""Models without a target: k-means and DBSCAN, and how good clusters are."""
