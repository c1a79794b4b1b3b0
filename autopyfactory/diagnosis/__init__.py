"""Why a queue submits no pilots: from a recorded cycle, the configuration and the state of the daemon to plain words.

`cause` reads one cycle, `standing` what stands outside of cycles (a queue that is not served, a daemon that does
not run), `story` puts both together with the history, `native` names the commands that show the same.
"""
