"""The command line, one module per command.

`app` lists the commands: read it first. Each command's function stands in the module of its name;
`options` holds the options that several commands share. Slow imports happen inside functions.
"""
