"""Tasks that recall something from the input."""
