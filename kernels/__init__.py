"""Operators, one folder each: reference.py is the oracle, the rest computes the same, faster."""
