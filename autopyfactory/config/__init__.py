"""What the admin wrote, read and judged: INI files in, one validated `Config` out.

`loader.load(path)` is the whole contract. It opens no connection, raises ConfigError when the main file is
wrong, and otherwise returns a `Config` in which wrong queues are left out, with every problem at its
file and line. `compare.difference(old, new)` tells what a reload would change.
"""
