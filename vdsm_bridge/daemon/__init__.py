"""`vdsmd`: the process, and the composition root that builds a host from its configuration."""
