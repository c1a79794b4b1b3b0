"""How hypothesis plays: without a stopwatch, for machines are shared; in CI with the same dice each time.

What a search with other dice finds is added to the test as an example.
"""

import os

from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
