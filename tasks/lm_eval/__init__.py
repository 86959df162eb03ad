"""Task files of lm-evaluation-harness, and the documents that they read, without a network."""
