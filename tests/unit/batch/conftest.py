"""What several tests of the backends stand on."""

from collections.abc import Iterator

import pytest

from autopyfactory.batch import condor_child
from tests.unit.batch.bindings_stand_in import FakeSchedd, bindings_of


@pytest.fixture
def schedd(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSchedd]:
    """A schedd behind the bindings of the child process."""
    fake = FakeSchedd()
    monkeypatch.setattr(condor_child, "_bindings", lambda: bindings_of(fake))
    yield fake
    condor_child._SCHEDDS.clear()
