"""Time, memory and operation counts of variants and kernels: `cab bench`, `cab crossover`.

`protocol` plans and runs the measurements: read it first. `gate` checks outputs before and after
timing, `sampling` and `timers` measure, `record` is one measured row, `crossover`
finds crossover lengths.
"""
