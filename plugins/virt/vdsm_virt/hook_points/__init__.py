"""Hooks beside those of machines: answers to queries, and custom properties."""
