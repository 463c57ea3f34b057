"""Shares and limits of machines, and the host services that set them."""
