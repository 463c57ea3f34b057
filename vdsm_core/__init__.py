"""The host: the foundation of every feature. It contains no protocol and no verb."""
