"""MLflow, an index of the records, which are the truth.

`index` writes records to a tracking server and finds what is there: read it first. `runs` is one
record as a run, `live` indexes while cells are still running.
"""
