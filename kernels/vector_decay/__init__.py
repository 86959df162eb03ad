"""Causal linear attention whose state decays by one number per key channel and token."""
