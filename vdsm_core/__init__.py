"""The host: what every feature stands on. Knows no protocol and no verb."""
