"""The structs of the verbs: what they take and give, and the events of machines."""
