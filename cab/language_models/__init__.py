"""Decoders trained here under lm-evaluation-harness.

`lm_harness` is a trained cell as a model of the harness: read it first. `lm_evaluation` runs the
harness and keeps what it scored beside the record.
"""
