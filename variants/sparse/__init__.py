"""Attention to some of the pairs."""
