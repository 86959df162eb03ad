"""The words that no text for readers uses."""

PRIVATE = (
    r"proofs?",
    r"proved",
    r"standings?",
    r"identity(?! matri)",
    r"providers?",
    r"subjects?",
    r"counting tasks?",
    r"necessity",
    r"joins? the record",
    r"surely",
    r"dearer",
    r"stretched",
    r"embedded default",
    r"causal rectangles?",
    r"told from",
    r"re-runs?",
    r"run again",
    r"efficiency lengths?(?!\s+(?:\(CAB paper\)|of\s+the\s+CAB\s+paper))",
)
"""Words that a reader of another project does not know, or knows in another sense."""
