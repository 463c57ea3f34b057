"""Reaching a host from outside: the contract of transports."""
