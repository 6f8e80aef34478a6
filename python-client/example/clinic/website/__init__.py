"""The project: settings, addresses, headers."""
