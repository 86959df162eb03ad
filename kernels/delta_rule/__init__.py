"""The gated delta rule: a token replaces what its key reads."""
