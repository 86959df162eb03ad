"""How commands train cells: the plan, the check of the laws before it, progress and results.

`work` does it for `cab run` and `cab sweep`: read it first.
"""
