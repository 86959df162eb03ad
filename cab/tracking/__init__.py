"""MLflow, as an index of the records. The records are the source of truth.

`index` writes records to MLflow: read it first. `mirror` finds and makes a store's runs, `runs`
turns one record into a run, `names` makes its names acceptable to MLflow, `connection` opens
MLflow, and `live` indexes records while other cells are still running.
"""
