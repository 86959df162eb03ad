"""MLflow, as an index of the records. The records are the source of truth.

`index` writes records to a tracking server: read it first. `runs` turns one record into an MLflow
run, `live` indexes records while other cells are still running.
"""
