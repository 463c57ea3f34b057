"""QMFv2 in messages: bodies, envelope, values, names, predicates."""
