"""How `bench`, `crossover`, `check --invariance` and `probe --state-dtype` measure and print.

`measuring` holds what `bench` and `crossover` share: read it first.
"""
