"""SD cards that are built and booted: make test-image."""

import pytest

# So that their failures show the values.
pytest.register_assert_rewrite("tests.image.seen", "tests.image.pi")
