"""Tasks, one file each, in the folder of their domain."""
