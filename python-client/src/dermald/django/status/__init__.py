"""What the status page shows: the daemon's own words as values, and the geometry of its charts.

Knows no request and no template.
"""
