"""What a result is, and where it is stored.

`store` holds the record of a cell and the folder of records: read it first. `parts` are its
fields, `results` the published files, `folders` where these are read from, `sources` the hash of
a variant's code, `files` safe writing.
"""
