"""Controls: what a task gives without attention."""
