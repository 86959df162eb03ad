"""Decoders trained by CAB, evaluated with lm-evaluation-harness.

`lm_harness` presents a trained cell as a model of the harness: read it first. `lm_evaluation`
runs the harness and stores its scores in the record.
"""
