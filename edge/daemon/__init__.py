"""The daemon: composes all other rooms into one run. Imports nothing of weight itself."""
