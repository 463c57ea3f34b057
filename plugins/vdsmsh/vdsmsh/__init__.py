"""The command line of a host: every verb of its API as a command."""
