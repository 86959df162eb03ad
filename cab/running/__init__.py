"""From a request to finished cells.

`cells` plans which cells are run: read it first. `execution` runs many of them on one of the
`executors`, each in a process of its own; `worker` is what that process does, `training` its loop.
`gate` checks variants before, `checkpoints` keeps the weights, `trained` loads them again.
"""
