"""From a store of records to the leaderboard, and the checks in between.

`validation` checks the form and content of published records: read it first. `verification` runs
a sample of them again, `standing` says what a published number has gone through.
"""
