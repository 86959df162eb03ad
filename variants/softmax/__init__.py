"""Softmax over all pairs, and its implementations."""
