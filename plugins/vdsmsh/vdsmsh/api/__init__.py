"""The API of a host as the command line sees it: verbs, commands, options, values and names of objects."""
