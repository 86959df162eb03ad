"""Softmax attention over near keys, in memory linear in the length."""
