"""What is done to the inputs of an attention before its mechanism sees them.

`padding` zeroes padding and fills up empty inputs: read it first.
"""
