"""The connection to libvirt: event loop, connection pool, worker threads, reconnect, dispatcher of events."""
