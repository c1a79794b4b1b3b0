"""The decision record: every cycle of every queue, what it saw, decided and did, for `why` and for traces.

`Keeper` writes what the queues report, from one thread, into `FILE` in `state_dir`; `Record` (in `book`) reads it,
also while the daemon writes. Nothing depends on it: lost, locked, broken or on a full disk it costs one WARNING.
`trace` is the form in which its demand is handed on, to be replayed.
"""

FILE = "decisions.sqlite"
