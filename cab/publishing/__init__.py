"""From a store of records to the leaderboard, and the checks in between.

`validation` checks the form and content of published files: read it first. It asks `soundness`
whether the numbers are possible and `provenance` where they come from. `verification` reruns a
sample, `status` says what came of it.
"""
