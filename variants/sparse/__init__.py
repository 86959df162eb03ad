"""Attention to a chosen few of the pairs."""
