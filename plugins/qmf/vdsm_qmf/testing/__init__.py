"""The kit for tests that need a message bus: a broker of their own."""

from vdsm_qmf.testing.rabbitmq import PASSWORD, USER, BrokerFailed, RabbitMQ, TlsFiles

__all__ = ["PASSWORD", "USER", "BrokerFailed", "RabbitMQ", "TlsFiles"]
