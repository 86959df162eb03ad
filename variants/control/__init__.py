"""Controls: results on a task without attention."""
