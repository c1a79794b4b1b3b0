"""Pilots one by one in a schedd: what is asked and done."""

from autopyfactory.batch import condor_pilots
from autopyfactory.batch.condor_child import Target
from tests.unit.batch.bindings_stand_in import FakeSchedd, Undefined

TARGET = Target("ap1", "cm:9618")


def test_remove_tells_how_many(schedd: FakeSchedd) -> None:
    assert condor_pilots.remove(TARGET, "JobStatus == 1") == 4
    assert schedd.done == [("remove", "JobStatus == 1")]


def test_a_release_is_counted_in_the_job(schedd: FakeSchedd) -> None:
    assert condor_pilots.release(TARGET, "x", 2) == 0
    schedd.jobs = [{"ClusterId": 1}]
    assert condor_pilots.release(TARGET, "x", 2) == 4
    assert schedd.done == [("edit", ("x && JobStatus == 5", "APF_RELEASES", "2")), ("release", "x")]


def test_pilots_one_by_one_and_no_more_than_wanted(schedd: FakeSchedd) -> None:
    schedd.jobs = [{"ClusterId": 1, "ProcId": n, "GridJobId": Undefined.UNDEFINED, "Owner": "x"} for n in range(5)]
    found = condor_pilots.pilots(TARGET, "true", 2)
    assert found == ({"ClusterId": 1, "ProcId": 0}, {"ClusterId": 1, "ProcId": 1})
