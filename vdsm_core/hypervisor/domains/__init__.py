"""Calls on domains, their statistics and their events."""
