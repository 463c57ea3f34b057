"""Devices of running machines: plugged in and out, loaded and resized."""
