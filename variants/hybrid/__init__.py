"""Hybrids: attention to near tokens, combined with a cheaper mechanism for distant ones."""
