"""Modules with the names and shapes of code that they replace in sites."""
