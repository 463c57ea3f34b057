"""What the guest agents report of the guests."""
