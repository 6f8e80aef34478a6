"""What the commands refuse to do, told to people."""


class Refusal(ValueError):  # noqa: N818 - it is an answer, not a fault of the program
    """Something that cannot be done as asked: a sentence that says what, and what to do."""
