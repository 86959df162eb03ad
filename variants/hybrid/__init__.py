"""Hybrids: attention to the near joined with something cheaper for the far."""
