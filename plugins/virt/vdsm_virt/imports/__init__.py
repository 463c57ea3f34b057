"""Machines of other hypervisors and of OVA files, described and converted."""
