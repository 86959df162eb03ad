"""What several commands share: options, output, names of variants, and the boards they print.

`options` holds the options that several commands take: read it first.
"""
