"""Other generators than the built-in one: programs and Python functions that the config names (contract §7).

commands   a config and its sources -> the argument lists to be run; pure
inputs     what a generator depends on, to be watched; which sources its globs mean
process    one run: a process group of its own, bounded, its output kept apart from the app's
function   the program of the process that calls a Python function
collecting what was written -> the stage
running    every generator of a config into a stage: what a cycle calls

They write into a stage as the built-in generator does, and what they wrote goes the way of its wrappers from there.
"""
