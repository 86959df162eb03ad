"""Tasks over long inputs whose parts depend on each other."""
