"""Tasks that ask for something seen before."""
