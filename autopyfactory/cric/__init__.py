"""Queues from the site catalogue: a CRIC document becomes sections of queues, as if an admin had written them.

`document` reads what CRIC (or a PanDA server, which publishes the same per queue) says, `sections` decides
which of its CEs become queues and why others do not, `store` keeps the last good document, `refresh` asks for
a new one on a timer. A `[cric NAME]` section of the main file names the document and the filters; the
configuration reads what `store` has and opens no connection.
"""
