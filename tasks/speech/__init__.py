"""Tasks on recorded speech."""
