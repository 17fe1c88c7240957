"""The command line: what the program `edge` is called with, does and prints.

arguments.py     every command and option; the config keys that they set
commands.py      what each command does, a function each
cases.py         `edge cases`: the frames that were kept
arguments_cases.py  its arguments
bench.py         `edge bench`: speed and memory of the pipeline, stage by stage
bench_source.py  `edge bench --capture`: the cost of a source
tune/            `edge tune`: settings that meet a target on this machine
watch.py         `edge watch`: what a subscriber receives, live
screen.py        MQTT messages drawn for `edge watch`
models.py        `edge models`: models of this device
teach.py         `edge teach`: a model of one's own pictures
teach_pictures.py  its pictures, each read once
record.py        `edge record`: what a camera's model sees and says, into a file
replay.py        `edge replay`: a recording through one model or several, compared
purge.py         `edge purge`: a broker forgets one device

Imports nothing heavy; commands.py imports what a command needs when it runs.
"""
