"""Cards that are built and booted: make test-image."""
