"""A batch system to play with: jobs that really run, under a limit of slots, behind the commands of real systems.

`engine` keeps the state in files and runs the jobs; `torque` and `lsf` speak the formats of their systems.
Everything needs the standard library alone and is copied to where it is used (`tests.testbed.batchsystem`).
"""
