"""Causal linear attention whose state decays by one number per head and token."""
