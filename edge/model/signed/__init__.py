"""Signed bundles: a model in one file, whose maker a key on the device knows.

manifest.py   what is signed: name, version, serial, and the checksum of each file
archive.py    the file: a tar that a manifest decides to the last byte; read as a stream
keys.py       keys that are trusted; signatures, by OpenSSL's program
serials.py    the highest serial that was accepted of each name, durable
add.py        checks a bundle, proves its model, adds it
make.py       makes one of a model's folder
download.py   reads one from an http or https server; in a process of its own
fetch.py      the child process that fetches one for the daemon
fetch_child.py   the child's side
"""
