"""How results, events and progress are printed."""
