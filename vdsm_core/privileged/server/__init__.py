"""The privileged helper itself: the process that runs operations. Nothing of the daemon imports it."""
