"""Template tags: `{% load dermald %}`."""
