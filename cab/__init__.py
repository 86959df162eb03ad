"""CAB, the Comprehensive Attention Benchmark.

Where is an attention mechanism as good as softmax attention, where is it not, and from which
length on is it cheaper? Nothing is imported here, so that `cab --help` answers at once.
"""

__version__ = "0.1.0"
