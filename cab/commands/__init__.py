"""The command line, one module per command.

`app` lists the commands: read it first. Each command's function stands in the module of its name;
`common` holds options and output, `cells` and `measurements` the steps of commands that train or
measure. Slow imports happen inside functions.
"""
