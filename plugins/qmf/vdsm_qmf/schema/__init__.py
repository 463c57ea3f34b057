"""The schema of the host: classes of objects and events, derived from the declared verbs and events."""
