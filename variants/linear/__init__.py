"""Attention through kernel features and low rank."""
