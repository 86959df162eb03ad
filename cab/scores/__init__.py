"""Scores, intervals and ranks: pure functions from records to tables.

`board` makes the leaderboard: read it first. `table` turns records into rows, `normalise` puts a
metric on the scale, `ranking` and `ties` order the entries, `paired` compares two of them.
"""
