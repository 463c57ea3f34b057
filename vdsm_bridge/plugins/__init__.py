"""Features and bindings: their contracts, and how they are found, started, replaced and stopped."""
