"""One call of apfmon's REST API: how it is written, and which answers mean that it has to be made again."""

import json
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from autopyfactory.errors import MonitorError
from autopyfactory.http import Answer, Http, NoAnswer

_LATER = frozenset({408, 429})


class Api:
    """The calls below one base URL, for the monitor `name`.

    A call returns any answer that will not change by asking again. Raises MonitorError when there was
    none, or one of a server in trouble (5xx, 408, 429).
    """

    def __init__(self, name: str, url: str, deadline: float, http: Http) -> None:
        self._name = name
        self._url = url
        self._deadline = deadline
        self._http = http

    def put(self, path: str, body: object) -> Answer:
        """Send JSON."""
        return self._call("PUT", path, json.dumps(body).encode(), "application/json")

    def post(self, path: str, form: Mapping[str, str]) -> Answer:
        """Send a form; those servers take a bare `;` for a separator, so every value is quoted."""
        return self._call("POST", path, urlencode(form, quote_via=quote).encode(), "application/x-www-form-urlencoded")

    def complaint(self, what: str, answer: Answer) -> str:
        """Return in one line what was asked where, and what came back."""
        first = answer.text.strip().partition("\n")[0][:120]
        return f"{what} at {self._url} answered {answer.status}: {first}"

    def error(self, what: str, answer: Answer) -> MonitorError:
        """Return the error of an answer with which the monitor is of no use now."""
        return MonitorError(f"monitor {self._name}: {self.complaint(what, answer)}")

    def close(self) -> None:
        """Abandon a call under way, from another thread; later ones fail at once."""
        self._http.close()

    def _call(self, method: str, path: str, body: bytes, content: str) -> Answer:
        what = f"{method} /{path.split('/')[1]}"
        headers = {"Content-Type": content}
        try:
            answer = self._http.call(method, self._url + path, headers, self._deadline, body)
        except NoAnswer as error:
            raise MonitorError(f"monitor {self._name}: {what} at {self._url}: {error}") from error
        if answer.status >= 500 or answer.status in _LATER:
            raise self.error(what, answer)
        return answer
