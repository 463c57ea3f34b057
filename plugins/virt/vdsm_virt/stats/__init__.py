"""Statistics of machines."""
