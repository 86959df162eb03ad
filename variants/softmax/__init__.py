"""Softmax over all pairs, and implementations of it."""
