"""Scores: pure functions from records to tables, each with its definition."""
