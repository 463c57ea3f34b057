"""New machines: from their parameters to a launch, and places for those of other hosts."""
