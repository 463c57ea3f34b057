"""What a command does: verbs, events, lists kept up to date, waiting for tasks, help."""
