"""What a queue remembers: the ramp after a black hole, and what a copy has in common with its origin."""

from autopyfactory.memory import Memory


def test_a_queue_begins_slowly_when_an_endpoint_swallows_pilots_no_more() -> None:
    memory = Memory()
    memory.note_holes(frozenset({"ce1", "ce2"}))
    ramps = [memory.ramp]
    memory.note_holes(frozenset({"ce2"}))
    ramps.append(memory.ramp)
    assert ramps == [None, 1], "a new hole gets probes, the other endpoints go on"
    assert memory.holes == {"ce2"}


def test_a_copy_learns_for_itself() -> None:
    memory = Memory(ramp=4)
    memory.copy().note_holes(frozenset({"ce1"}))
    assert (memory.ramp, memory.holes) == (4, frozenset())
