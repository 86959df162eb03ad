"""Questions asked of trained cells and of tasks, beyond the score.

`probing` measures what trained attentions do, with `probes` and `mixing`: read it first.
`reading` measures how much of a sequence a variant reads. `extrapolation` tests other lengths,
`certificates` shows that a task needs attention, `figures` draws.
"""
