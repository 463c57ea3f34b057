"""What helps to type commands: the interactive shell, completion, the completion scripts."""
