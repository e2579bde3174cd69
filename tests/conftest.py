"""What all tests share."""

from hypothesis import settings

# No test asserts a speed: a slow machine is not a failure.
settings.register_profile("bastide", deadline=None)
settings.load_profile("bastide")
