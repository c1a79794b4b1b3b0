"""What a test does not forgive. What was waited for in vain may be a slow machine; a law that was broken is not."""


class Breach(AssertionError):
    """A law was broken: the run has failed, and the test gets no second chance."""


def law(holds: bool, breach: str) -> None:
    """Fail for good unless a law holds. For what no slow machine can bring about: one pilot too many, a double."""
    if not holds:
        raise Breach(breach)
