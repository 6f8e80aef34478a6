"""The bytes of docs/protocol.md, and the only place that knows them. Does no I/O.

`values` holds numbers, strings and lists, `requests` and `replies` the messages made of them,
`frames` cuts a stream into messages.
"""
