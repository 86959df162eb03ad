"""Networks with attention slots, in plain PyTorch, the same for every variant.

A slot is an attention layer that CAB fills: with the variant under test, or with the reference.
`slots` does so: read it first. `layers` holds the shared blocks; each other file is one network.
"""
