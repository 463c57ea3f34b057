"""Running one hook script: the program that watches it, and the call of that program."""
