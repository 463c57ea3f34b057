"""How a host is chosen and reached: transports, sessions, many hosts on a bus."""
