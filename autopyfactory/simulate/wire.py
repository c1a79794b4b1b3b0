"""How a PanDA server words its answers: one envelope, as JSON or, to whom does not ask for it, as a Python repr."""

import json
from decimal import Decimal
from typing import Any

Reply = dict[str, Any]


def envelope(data: Any) -> Reply:
    """Frame the data of a call that went well."""
    return {"success": True, "message": "", "data": data}


def failure(message: str, data: Any = None) -> Reply:
    """Frame a failure; it travels with HTTP 200 like everything else."""
    return {"success": False, "message": message, "data": data}


def rendered(reply: Reply, *, as_json: bool) -> str:
    """Return the body; in the repr form counts are Decimals, as they come from the server's database."""
    return json.dumps(reply) if as_json else repr(_decimals(reply))


def _decimals(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decimals(inner) for key, inner in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and value:
        return Decimal(value)
    return value
