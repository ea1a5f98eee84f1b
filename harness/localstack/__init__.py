"""LocalStack without Docker: its process, and the two plugins that it loads from here."""
