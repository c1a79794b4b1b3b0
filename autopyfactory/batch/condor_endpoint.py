"""Read the endpoint of a CE as admins write it: a host, with or without port, as a URL or as an account at a host."""

import re
from dataclasses import dataclass

_FORM = re.compile(
    r"(?P<scheme>https://)?(?:(?P<user>[\w.-]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|\w(?:[\w.-]*\w)?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/\S*)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Form:
    """Which endpoints a row takes: its default port, and what else than `host[:port]` may stand there.

    `path` is a pattern of what may follow the port; `url` allows `https://`, `user` an account before the host.
    """

    example: str
    port: int = 0
    path: str = ""
    url: bool = False
    user: bool = False

    def read(self, endpoint: str) -> dict[str, str]:
        """Return `endpoint`, `host`, `port` and `target` (with the account, if one is named).

        Raises ValueError with what to write instead.
        """
        match = _FORM.fullmatch(endpoint)
        if (
            match is None
            or (match["scheme"] and not self.url)
            or (match["user"] and not self.user)
            or not re.fullmatch(self.path, match["path"] or "")
            or int(match["port"] or self.port or 1) not in range(1, 65536)
        ):
            raise ValueError(f"'{endpoint}' cannot be such an endpoint, write for example {self.example}")
        user = f"{match['user']}@" if match["user"] else ""
        port = int(match["port"] or self.port)
        return {
            "endpoint": endpoint,
            "host": match["host"],
            "port": str(port),
            "target": f"{user}{match['host']}" + (f":{port}" if match["port"] else ""),
        }
