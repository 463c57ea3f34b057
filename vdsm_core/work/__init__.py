"""Everything that runs longer than a moment, and the order in which work on one object is done."""
