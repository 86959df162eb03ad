"""Measurement: time, memory and operations of variants and operators (`cab bench`)."""
