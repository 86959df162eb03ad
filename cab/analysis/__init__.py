"""What is asked of trained cells and of tasks, beyond the score.

`probing` looks into trained attentions with `probes` and `mixing`: read it first. `extrapolation`
tests other lengths, `necessity` certifies that a task needs attention, `figures` draws.
"""
