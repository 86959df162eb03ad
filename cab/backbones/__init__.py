"""Networks with attention slots, in plain PyTorch, the same for every variant.

`slots` decides which attention goes into which slot: read it first. `layers` holds the blocks that
the networks share; each other file is one network.
"""
