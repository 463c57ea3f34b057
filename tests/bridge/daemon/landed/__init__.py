"""A state directory of the landed release."""
