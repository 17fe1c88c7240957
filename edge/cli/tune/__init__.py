"""`edge tune`: finds threads, cores, capture size, motion gate and second model for a target.

command.py   from the arguments to the exit status
records.py   what is tried, asked, measured
options.py   which candidates are worth a trial
scenes.py    made-up pictures
child.py     measures one candidate, in a process of its own
trial.py     starts that process, and survives it
search.py    one setting after the other, each candidate several times
machine.py   what makes the figures say little
sources.py   where frames come from, without taking the service's camera
answer.py    the lines for edge.toml, and what is only recommended
report.py    their file
shown.py     the table for people
"""
