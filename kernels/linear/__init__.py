"""Linear attention: sums of key-value outer products, read by queries."""
