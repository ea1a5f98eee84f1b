"""ion sends email reliably: what is published to its SNS topic reaches an SMTP server, or says why it could not."""

__version__ = "0.1.0"
