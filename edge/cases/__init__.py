"""Cases: frames that a device has kept for a person to look at and to sort.

sidecar.py  the record beside a picture: why it was kept, and what the model gave
names.py    names of cases and of classes: which ones a file may have
folder.py   an open folder: no symbolic link is followed, a file is written whole or not at all
store.py    the folder of cases: add, find, sort, purge; one writer at a time
tidy.py     removes what kills and losses of power have left
index.py    what the daemon remembers of the folder; caps on bytes and free space
listing.py  cases as rows: filtered, in order of time
archive.py  a tar file with a folder for each class, written
intake.py   the same, read, trusted or not

Needs no daemon, and works beside one.

    ROOT/NAME.jpg, NAME.json            unsorted
    ROOT/sorted/LABEL/NAME.jpg, .json   sorted into a class by a person

The picture makes the case: a side-car without its picture is rubbish, which tidy.py removes; a
picture without a side-car is a case of which nothing is known.
"""
