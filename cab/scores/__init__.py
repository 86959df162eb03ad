"""Scores, intervals and ranks: pure functions from records to tables.

`board` makes the leaderboard: read it first. `table` turns records into rows, `normalise` puts a
metric on its scale, `estimates` gives intervals and p-values, `ranking` and `rank_sets` order the
entries, `comparison` compares two of them.
"""
