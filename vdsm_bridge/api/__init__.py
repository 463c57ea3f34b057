"""Declaring the API: namespaces and verbs, their schema, routes and documents."""
