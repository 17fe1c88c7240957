"""The package in a booted Debian: `make test-system`."""
