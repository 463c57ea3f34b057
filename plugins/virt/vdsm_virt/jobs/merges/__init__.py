"""Merges of volumes of running machines."""
