"""Settings of all tests: machines are shared, so no example is judged by the clock."""

from hypothesis import settings

settings.register_profile("book", deadline=None)
settings.load_profile("book")
