"""The command line: one module per verb. Heavy imports happen inside the functions."""
