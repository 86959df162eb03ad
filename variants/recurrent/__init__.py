"""Recurrences: a state of fixed size that every token updates and reads."""
