"""The command line: arguments, what each command does, and what they print.

Imports nothing of weight.
"""
