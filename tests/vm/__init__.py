"""A Linux machine of the test's own: Debian's kernel on this machine's files, with its drivers."""
