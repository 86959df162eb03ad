"""From a request to finished cells.

`cells` plans which cells are run: read it first. `execution` runs them on one of the `executors`,
each in its own process; `worker` is what that process does, `training` its training loop. `gate`
checks variants beforehand, `checkpoints` keeps the weights, `trained` loads them again.
"""
