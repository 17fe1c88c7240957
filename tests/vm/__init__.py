"""A virtual machine for tests: Debian's kernel with its drivers, on this machine's files."""
