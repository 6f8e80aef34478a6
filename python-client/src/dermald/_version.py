"""The version of this package, which the daemon's log shows for each connection."""

VERSION = "0.1.0"
