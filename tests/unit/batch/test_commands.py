"""What all command-line batch systems share, by the example of Slurm: submission, counts, ends, faults."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.batch import remove
from autopyfactory.batch.commands import LOST
from autopyfactory.batch.commands_options import file_system, judge
from autopyfactory.batch.commands_pilots import VANISHED
from autopyfactory.batch.commands_record import REMEMBER
from autopyfactory.batch.commands_words import Answer, Tags
from autopyfactory.batch.slurm import SlurmOptions
from autopyfactory.command import NotStarted
from autopyfactory.config.models import CredentialOptions, FactoryOptions, QueueOptions
from autopyfactory.errors import Ambiguous, Refused, SourceError, Unasked
from autopyfactory.model import EndedPilot, PilotGroup, PilotState
from tests.unit.batch.slurm_stand_in import Bed

RUNNING = frozenset({PilotState.RUNNING})


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_a_submission_goes_pending_running_finished(bed: Bed) -> None:
    done = bed.batch.submit(bed.order(3))
    assert len(set(done.cids)) == 3
    assert all(re.fullmatch(r"[a-z0-9]+\.\d", cid) and len(cid) <= 16 for cid in done.cids)
    assert bed.poll().groups == (PilotGroup("s1", "Q", PilotState.PENDING, 3, "here", "here", "1c"),)
    bed.slurm.set("RUNNING")
    assert bed.counts() == {"running": 3}
    bed.slurm.set("COMPLETING", ids=[1])
    assert bed.counts() == {"running": 2, "finishing": 1}
    assert bed.batch.ended(frozenset({"s1"})) == frozenset()
    bed.slurm.set("COMPLETED", ids=[1])
    bed.slurm.set("FAILED", code=7 << 8, ids=[2])
    bed.slurm.set("FAILED", code=9, ids=[3])
    report = bed.poll()
    assert report.groups == ()
    assert [(end.cid, end.exit_code, end.fault) for end in report.ended] == [
        (done.cids[0], 0, ""),
        (done.cids[1], 7, ""),
        (done.cids[2], -9, ""),
    ]
    assert bed.poll().ended == ()
    assert bed.batch.ended(frozenset({"s1", "other"})) == {"s1"}


def test_the_script_is_fed_and_nothing_else_is_run(bed: Bed) -> None:
    bed.batch.submit(bed.order(2))
    assert [script.startswith("#!/bin/sh\n") for script in bed.slurm.scripts] == [True, True]
    assert "export APF_SUBMISSION=s1\n" in bed.slurm.scripts[0]
    assert len(bed.slurm.calls) == 2


def test_cids_of_further_sources_and_later_submissions_differ(tmp_path: Path) -> None:
    bed = Bed(tmp_path, position=3)
    bed.slurm.takes = 0.0
    first = bed.batch.submit(bed.order()).cids + bed.batch.submit(bed.order(name="s2")).cids
    assert len(set(first)) == 2
    assert all(cid.startswith("3-") and len(cid) <= 16 for cid in first)


def test_half_accepted(bed: Bed) -> None:
    bed.slurm.fail = ["", "", "refuse Invalid account or account/partition combination specified"]
    with pytest.raises(Refused, match=r"^slurm local: sbatch: .*Invalid account.*\(correct account, or let") as caught:
        bed.batch.submit(bed.order(5))
    assert len(caught.value.cids) == 2
    assert len(bed.slurm.calls) == 3
    assert bed.counts() == {"pending": 2}


@pytest.mark.parametrize("fault", ["hang", "take and time out"])
def test_no_answer_is_ambiguous_and_the_listing_tells(bed: Bed, fault: str) -> None:
    bed.slurm.fail = ["", fault]
    with pytest.raises(Ambiguous):
        bed.batch.submit(bed.order(5))
    assert len(bed.slurm.calls) == 2
    assert bed.counts() == {"pending": 1 if fault == "hang" else 2}


def test_a_slow_system_gets_what_half_the_deadline_allows(bed: Bed) -> None:
    bed.slurm.takes = 3.0
    assert len(bed.batch.submit(bed.order(50)).cids) == 4
    assert len(bed.batch.submit(bed.order(50, name="s2")).cids) == 4


@pytest.mark.parametrize("state", ["down", "hung"])
def test_a_dead_system_is_no_information_and_comes_back(bed: Bed, state: str) -> None:
    bed.batch.submit(bed.order(2))
    bed.poll()
    bed.slurm.state = state
    for _ in range(5):
        with pytest.raises(SourceError, match=r"^slurm local: "):
            bed.poll()
    with pytest.raises(Refused if state == "down" else Ambiguous):
        bed.batch.submit(bed.order(name="s2"))
    with pytest.raises(SourceError):
        remove(bed.batch, "Q", RUNNING)
    bed.slurm.state = "up"
    assert bed.counts() == {"pending": 2}


def test_the_lost_record_costs_no_pilot(bed: Bed) -> None:
    cids = bed.batch.submit(bed.order(2)).cids
    bed.slurm.set("COMPLETED", ids=[1])
    next((bed.home / "state/slurm/local").glob("*.jsonl")).unlink()
    bed.restart()
    report = bed.poll()
    assert report.groups == (PilotGroup("s1", "Q", PilotState.PENDING, 1, "here", "here", "1c"),)
    assert report.ended == (EndedPilot(cids[0], "Q", "s1", 0),)


def test_an_end_is_told_once_also_after_a_restart_and_while_it_is_listed_for_days(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    bed.slurm.set("COMPLETED")
    assert len(bed.poll().ended) == 1
    bed.restart()
    assert bed.poll().ended == ()
    assert bed.batch.ended(frozenset({"s1"})) == {"s1"}
    for _ in range(5):
        assert bed.poll(REMEMBER).ended == ()
    bed.slurm.jobs.clear()
    bed.poll()
    assert bed.batch.ended(frozenset({"s1"})) == frozenset()


def test_a_vanished_pilot_counts_until_a_second_listing_lacks_it(bed: Bed) -> None:
    cids = bed.batch.submit(bed.order(2)).cids
    bed.slurm.set("RUNNING")
    bed.poll()
    bed.slurm.jobs.clear()
    assert bed.counts() == {"running": 2}
    report = bed.poll()
    assert report.groups == ()
    assert report.ended == tuple(EndedPilot(cid, "Q", "s1") for cid in cids)
    assert bed.batch.ended(frozenset({"s1"})) == {"s1"}


def test_a_pilot_ran_since_a_listing_last_showed_it_waiting(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    bed.poll(30.0)
    waited = bed.clock.now()
    bed.slurm.set("RUNNING")
    bed.poll(30.0)
    bed.slurm.set("FAILED")
    end = bed.poll(30.0).ended[0]
    assert (end.at, end.lived) == (bed.clock.now(), bed.clock.now() - waited)
    assert (end.endpoint, end.node) == ("here", "n1")


def test_a_pilot_that_was_removed_while_it_waited_never_ran(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    bed.poll(30.0)
    bed.slurm.set("CANCELLED")
    assert bed.poll(30.0).ended[0].lived is None


def test_a_pilot_that_was_never_shown_is_doubted_first(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    bed.slurm.jobs.clear()
    assert bed.poll().groups == ()
    assert bed.batch.ended(frozenset({"s1"})) == frozenset()
    assert [end.fault for end in bed.poll().ended] == [VANISHED]
    assert bed.batch.ended(frozenset({"s1"})) == {"s1"}


def test_one_short_listing_changes_nothing(bed: Bed) -> None:
    bed.batch.submit(bed.order(2))
    jobs = dict(bed.slurm.jobs)
    bed.poll()
    for _ in range(3):
        bed.slurm.jobs.clear()
        assert bed.counts() == {"pending": 2}
        bed.slurm.jobs.update(jobs)
        assert bed.counts() == {"pending": 2}


def test_history_tells_the_ends_of_forgotten_jobs(tmp_path: Path) -> None:
    bed = Bed(tmp_path, options=SlurmOptions(jobcomp=tmp_path / "jobcomp.log"))
    cids = bed.batch.submit(bed.order(2)).cids
    bed.slurm.set("RUNNING")
    bed.poll()
    bed.slurm.jobs.clear()
    assert bed.poll().ended == tuple(EndedPilot(cid, "Q", "s1", 7) for cid in cids)


def test_a_history_that_fails_blocks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bed = Bed(tmp_path, options=SlurmOptions(sacct=True))
    bed.batch.submit(bed.order())
    bed.poll()
    bed.slurm.jobs.clear()
    for _ in range(2):
        report = bed.poll()
    assert [end.exit_code for end in report.ended] == [None]
    assert len(caplog.records) == 1
    assert "accounting storage is disabled" in caplog.text


def test_pilots_of_others_are_not_counted(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    for number, comment in enumerate(["", "hello", Tags("F2", "Q", "s9", "c").text(), "APF3:F1"], 100):
        bed.slurm.jobs[number] = {"job_id": number, "job_state": "RUNNING", "comment": comment, "user_name": "x"}
    assert bed.counts() == {"pending": 1}
    assert remove(bed.batch, "Q", frozenset(PilotState)).total() == 1
    assert bed.slurm.of("scancel")[0][1:] == ["1"]


def test_a_site_that_takes_our_tags_away_hides_no_recorded_pilot(bed: Bed) -> None:
    bed.batch.submit(bed.order(2))
    for job in bed.slurm.jobs.values():
        job["comment"] = "overwritten by the site"
    assert bed.counts() == {"pending": 2}


def test_ids_that_begin_again_are_other_jobs(bed: Bed) -> None:
    old = bed.batch.submit(bed.order()).cids
    bed.poll()
    bed.slurm.jobs[1]["comment"] = Tags("F1", "Q", "s2", "other.0").text()
    report = bed.poll()
    assert [group.submission for group in report.groups] == ["s2"]
    assert [end.cid for end in report.ended] == list(old)


def test_an_unknown_word_is_unknown_and_said_once(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    bed.batch.submit(bed.order(2))
    bed.slurm.set("DREAMING")
    for _ in range(3):
        assert bed.counts() == {"unknown": 2}
    assert len(caplog.records) == 1
    assert "DREAMING" in caplog.text


def test_a_strange_state_of_a_foreign_job_is_none_of_ours(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    bed.batch.submit(bed.order())
    bed.slurm.jobs[100] = {"job_id": 100, "job_state": "DREAMING", "comment": "", "user_name": "x"}
    bed.slurm.jobs[101] = bed.slurm.jobs[100] | {"job_id": 101, "comment": Tags("F2", "Q", "s9", "c").text()}
    assert bed.counts() == {"pending": 1}
    assert caplog.text == ""


def test_held_pilots_are_told_with_their_reason(bed: Bed) -> None:
    bed.batch.submit(bed.order(2))
    bed.slurm.set("PENDING", reason="PartitionTimeLimit")
    assert bed.counts() == {"held": 2}
    assert [pilot.hold_reason for pilot in bed.batch.pilots()] == ["PENDING (PartitionTimeLimit)"] * 2


def test_remove_takes_the_states_that_are_asked_for(bed: Bed) -> None:
    bed.batch.submit(bed.order(3))
    bed.slurm.set("RUNNING", ids=[2])
    assert remove(bed.batch, "Q", RUNNING).total() == 1
    assert remove(bed.batch, "other", frozenset(PilotState)).total() == 0
    assert bed.counts() == {"pending": 2}


def test_pilots_one_by_one(bed: Bed) -> None:
    cids = bed.batch.submit(bed.order(2)).cids
    bed.batch.submit(bed.order(1, name="s2", queue="OTHER"))
    bed.slurm.set("PENDING", reason="JobHeldUser", ids=[2])
    bed.clock.time += 100
    first, held = bed.batch.pilots("Q")
    assert (first.id, first.cid, first.queue, first.state) == ("1", cids[0], "Q", PilotState.PENDING)
    assert (held.state, held.hold_reason, held.word) == (PilotState.HELD, *["PENDING (JobHeldUser)"] * 2)
    assert first.submitted and first.since and 99 < first.since - first.submitted < 101
    assert [pilot.id for pilot in bed.batch.pilots(states=RUNNING)] == []
    assert len(bed.batch.pilots()) == 3
    bed.slurm.state = "down"
    with pytest.raises(SourceError):
        bed.batch.pilots()


def test_the_time_in_a_state_survives_a_restart(bed: Bed) -> None:
    bed.batch.submit(bed.order(1))
    bed.poll()
    bed.slurm.set("RUNNING")
    bed.poll()
    (before,) = bed.batch.pilots()
    for _ in range(2):
        bed.restart()
        bed.poll(1000)
        (after,) = bed.batch.pilots()
        assert after.since == before.since
    bed.slurm.set("SUSPENDED")
    (stopped,) = bed.batch.pilots()
    assert stopped.since == pytest.approx(bed.clock.time, abs=1)


def test_held_pilots_are_let_go(bed: Bed) -> None:
    bed.batch.submit(bed.order(2, submit_user="pilot"))
    bed.slurm.set("PENDING", reason="JobHeldUser")
    held = bed.batch.pilots()
    assert bed.batch.release_pilots(held) == 2
    assert bed.counts() == {"pending": 2}
    (argv,) = bed.slurm.of("scontrol")
    assert argv[:4] == ["sudo", "-n", "-u", "pilot"]
    assert argv[5:] == ["release", "1", "2"]
    bed.slurm.state = "down"
    with pytest.raises(SourceError, match=r"^slurm local: scontrol: Unable to contact"):
        bed.batch.release_pilots(held)


def test_who_removes_pilots_beside_the_daemon_writes_nothing(bed: Bed) -> None:
    bed.batch.submit(bed.order(2))
    path = bed.home / "state/slurm/local/pilots.jsonl"
    before = path.read_text()
    bed.restart(looking=True)
    bed.slurm.set("RUNNING", ids=[1])
    assert remove(bed.batch, "Q", RUNNING).total() == 1
    assert path.read_text() == before


def test_another_account_by_sudo(bed: Bed) -> None:
    bed.batch.submit(bed.order(submit_user="pilot"))
    argv = bed.slurm.calls[0]
    assert argv[:4] == ["sudo", "-n", "-u", "pilot"]
    assert argv[4].endswith("sbatch")
    assert (bed.home / "logs").stat().st_mode & 0o7777 == 0o1777
    bed.restart()
    assert remove(bed.batch, "Q", frozenset(PilotState)).total() == 1
    assert bed.slurm.of("scancel")[0][:4] == ["sudo", "-n", "-u", "pilot"]


def test_an_account_that_is_not_allowed(bed: Bed) -> None:
    with pytest.raises(Refused, match="'root' is not allowed, add it to submit_users"):
        bed.batch.submit(bed.order(submit_user="root"))
    assert bed.slurm.calls == []


def test_a_pilot_that_comes_back_is_counted_again_and_its_end_told_once(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    jobs = dict(bed.slurm.jobs)
    bed.poll()
    bed.slurm.jobs.clear()
    bed.poll()
    assert len(bed.poll().ended) == 1
    bed.slurm.jobs.update(jobs)
    assert bed.counts() == {"pending": 1}
    bed.slurm.set("COMPLETED")
    assert bed.poll().ended == ()
    assert bed.batch.ended(frozenset({"s1"})) == {"s1"}


def test_the_lost_record_of_our_own_pilots_asks_no_sudo(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    next((bed.home / "state/slurm/local").glob("*.jsonl")).unlink()
    bed.restart()
    bed.slurm.jobs[1]["user_name"] = "somebody"
    assert remove(bed.batch, "Q", frozenset(PilotState)).total() == 1
    assert "sudo" not in bed.slurm.of("scancel")[0]


def test_commands_of_a_folder_come_first(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.touch(mode=0o755)
    bed = Bed(tmp_path, options=SlurmOptions(bin_dir=program.parent, jobcomp=tmp_path / "log"))
    bed.batch.submit(bed.order())
    bed.poll()
    bed.slurm.jobs.clear()
    bed.poll()
    assert bed.slurm.of("sbatch")[0][0] == str(program)
    assert bed.slurm.of("grep")[0][0].endswith("bin/grep")
    assert not bed.slurm.of("grep")[0][0].startswith(str(tmp_path))


def test_sudo_says_no(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(1, "", "sudo: a password is required\n")
    monkeypatch.setattr(bed.slurm, "_sbatch", lambda argv, stdin: answer)
    with pytest.raises(Refused, match=r"sudoers.*NOPASSWD: \S*sbatch.*a password is required"):
        bed.batch.submit(bed.order(submit_user="pilot"))


@pytest.mark.parametrize("command", ["scancel", "scontrol"])
def test_sudo_does_not_let_us_order(bed: Bed, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """The line that is missing is said, and the pilots of our own account go all the same."""
    bed.batch.submit(bed.order(2, submit_user="pilot"))
    bed.batch.submit(bed.order(1, name="s2"))
    bed.slurm.set("PENDING", reason="JobHeldUser")
    held, willing = bed.batch.pilots(), getattr(bed.slurm, f"_{command}")
    no = Answer(1, "", "sudo: a password is required\n")
    monkeypatch.setattr(bed.slurm, f"_{command}", lambda argv, stdin: no if argv[0] == "sudo" else willing(argv, stdin))
    order = {"scancel": bed.batch.remove_pilots, "scontrol": bed.batch.release_pilots}[command]
    with pytest.raises(Unasked, match=rf"^slurm local: sudo refuses.* ALL=\(pilot\) NOPASSWD: \S*{command} ") as caught:
        order(held)
    assert caught.value.ids == {"1", "2"}
    assert bed.counts() == {"held": 2} | ({"pending": 1} if command == "scontrol" else {})


def test_a_command_that_is_not_there_was_asked_nothing(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.batch.submit(bed.order(1))
    bed.slurm.set("PENDING", reason="JobHeldUser")
    held = bed.batch.pilots()

    def absent(argv: list[str], stdin: str) -> Answer:
        raise NotStarted("cannot run scontrol: No such file or directory")

    monkeypatch.setattr(bed.slurm, "_scontrol", absent)
    with pytest.raises(Unasked, match=r"^slurm local: cannot run scontrol") as caught:
        bed.batch.release_pilots(held)
    assert caught.value.ids == {"1"}


def test_sudo_warns_and_the_command_speaks_for_itself(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    warning = "sudo: unable to resolve host x: Name or service not known\n"
    lost = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
    said = iter([warning + lost, warning + "sudo: a password is required\n", "Sorry, user apf is not allowed ...\n"])
    monkeypatch.setattr(bed.slurm, "_sbatch", lambda argv, stdin: Answer(1, "", next(said)))
    with pytest.raises(Ambiguous, match="Socket timed out"):
        bed.batch.submit(bed.order(submit_user="pilot"))
    for _ in range(2):
        with pytest.raises(Refused, match="sudo refuses"):
            bed.batch.submit(bed.order(submit_user="pilot"))


def test_what_cannot_be_submitted_is_refused_before_any_command(bed: Bed) -> None:
    bed.wrapper.unlink()
    with pytest.raises(Refused, match="cannot read the executable"):
        bed.batch.submit(bed.order())
    bed.wrapper.write_bytes(b"\x7fELF\0")
    with pytest.raises(Refused, match="is no script"):
        bed.batch.submit(bed.order())
    bed.wrapper.write_text("#!/bin/sh\n")
    (bed.home / "logs").write_text("")
    with pytest.raises(Refused, match="cannot make the log folder"):
        bed.batch.submit(bed.order())
    assert bed.slurm.calls == []


def test_a_damaged_line_of_the_record_is_skipped(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    bed.batch.submit(bed.order())
    [record] = (bed.home / "state/slurm/local").glob("*.jsonl")
    record.write_text(record.read_text() + '{"id": "7", "ended": 1\n')
    bed.restart()
    assert bed.counts() == {"pending": 1}
    assert "skipped a broken line" in caplog.text


def test_what_a_full_disk_has_cut_short_is_written_again(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    [record] = (bed.home / "state/slurm/local").glob("*.jsonl")
    aside = record.rename(record.with_name("aside"))
    record.mkdir()
    bed.batch.submit(bed.order(name="s2"))
    record.rmdir()
    aside.rename(record)
    bed.batch.submit(bed.order(name="s3"))
    bed.slurm.jobs.clear()
    bed.restart()
    assert bed.batch.ended(frozenset({"s1", "s2", "s3"})) == frozenset()
    bed.poll()
    bed.poll()
    assert bed.batch.ended(frozenset({"s1", "s2", "s3"})) == {"s1", "s2", "s3"}


def test_a_record_that_cannot_be_written_is_an_error_of_the_source(bed: Bed) -> None:
    (bed.home / "state").write_text("")
    with pytest.raises(SourceError, match="cannot keep the record"):
        bed.poll()


def test_close_says_that_the_factory_stops(bed: Bed) -> None:
    bed.batch.close()
    with pytest.raises(SourceError) as caught:
        bed.poll()
    assert caught.value.stopped
    with pytest.raises(Refused, match="closed, nothing was submitted") as refused:
        bed.batch.submit(bed.order())
    assert refused.value.stopped


def test_describe_shows_command_and_script_and_does_nothing(bed: Bed) -> None:
    text = bed.batch.describe(bed.order(3, batchqueue="long"))
    assert "sbatch --parsable" in text
    assert "--partition=long" in text
    assert "export APF_QUEUE=Q\n" in text
    assert bed.slurm.calls == []
    assert not (bed.home / "logs").exists()


def test_tags_come_back_as_they_went() -> None:
    tags = Tags("F-1", "SITE/a:b@c+d", "s 1", "x.0", "höst", "ce:9619", "8c-16000m")
    assert re.fullmatch(r"[A-Za-z0-9_.~%:-]+", tags.text())
    assert Tags.read(tags.text()) == tags
    assert Tags.read("") is Tags.read("APF3:x") is Tags.read("APF2:a:b:c:d:e:f:g") is None


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/x /home nfs4 rw 0 0
tmpfs /home/own\\040disk tmpfs rw 0 0
"""


def test_file_systems_of_this_host_alone(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system(Path("/var/log"), mounts) == "ext4"
    assert file_system(Path("/home/apf/logs"), mounts) == "nfs4"
    assert file_system(Path("/home/own disk/x"), mounts) == "tmpfs"
    assert file_system(Path("/homes"), mounts) == "ext4"
    assert file_system(Path("/x"), tmp_path / "none") == ""
    options = QueueOptions(backend="batch", type="slurm", proxy=("/etc/proxy", "named", "nosuch"), submit_user="nobody")
    named = {"named": CredentialOptions(file=Path("/var/proxy")), "other": CredentialOptions(file=Path("/var/other"))}
    local = FactoryOptions(id="F", pilot_log_dir=Path("/var/lib/apf"), submit_users=("nobody",))
    shared = local.model_copy(update={"pilot_log_dir": Path("/home/apf"), "submit_users": ()})
    assert [text.split(" is ")[0] for text in judge(options, local, named, mounts)] == [
        "warning: pilot_log_dir /var/lib/apf",
        "warning: proxy: /etc/proxy",
        "warning: proxy: /var/proxy",
    ]
    assert [text.split(",")[0] for text in judge(options, shared, named, mounts)] == [
        "submit_user: 'nobody' is not allowed",
        "warning: proxy: /etc/proxy is on a file system of this host alone (ext4)",
        "warning: proxy: /var/proxy is on a file system of this host alone (ext4)",
    ]


def test_a_pilot_that_has_started_since_it_was_listed_goes_on(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.batch.submit(bed.order(2))
    listed = bed.batch.pilots("Q", frozenset({PilotState.PENDING}))
    bed.slurm.set("RUNNING", ids=[2])
    bed.slurm.calls.clear()
    bed.batch.remove_pilots(listed)
    assert bed.slurm.jobs[2]["job_state"] == "RUNNING"
    assert bed.slurm.jobs[1]["job_state"] == "CANCELLED"
    assert len(bed.slurm.of("squeue")) == 1


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 3)),
        st.tuples(st.just("refuse"), st.integers(0, 2)),
        st.tuples(st.just("time out"), st.integers(0, 2)),
        st.tuples(st.just("run"), st.integers(1, 9)),
        st.tuples(st.just("end"), st.integers(1, 9)),
        st.tuples(st.just("short listing"), st.integers(1, 9)),
        st.tuples(st.sampled_from(["poll", "down", "restart", "restart without record"]), st.just(0)),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(EVENTS)
def test_whatever_happens_no_living_pilot_is_missed_and_each_end_is_told_once(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]]
) -> None:
    bed = Bed(tmp_path_factory.mktemp("bed"))
    told: list[str] = []

    def poll() -> int:
        report = bed.poll()
        told.extend(end.cid for end in report.ended)
        return sum(group.count for group in report.groups)

    for number, (event, value) in enumerate(events):
        alive = [id_ for id_, job in bed.slurm.jobs.items() if job["job_state"] in {"PENDING", "RUNNING"}]
        match event:
            case "submit" | "refuse" | "time out":
                bed.slurm.fail = {"refuse": [""] * value + ["refuse no"], "time out": [""] * value + ["hang"]}.get(
                    event, []
                )
                with suppress(Refused, Ambiguous):
                    bed.batch.submit(bed.order(3 if event != "submit" else value, name=f"s{number}"))
                bed.slurm.fail = []
            case "run":
                bed.slurm.set("RUNNING", ids=alive[:value])
            case "end":
                bed.slurm.set("COMPLETED", ids=alive[:value])
            case "short listing":
                poll()
                jobs = dict(bed.slurm.jobs)
                for id_ in list(jobs)[:value]:
                    del bed.slurm.jobs[id_]
                assert poll() >= len(alive)
                bed.slurm.jobs.update(jobs)
                poll()
            case "down":
                bed.slurm.state = "down"
                with pytest.raises(SourceError):
                    bed.poll()
                bed.slurm.state = "up"
            case "restart" | "restart without record":
                poll()
                if event != "restart":
                    for file in (bed.home / "state/slurm/local").glob("*.jsonl"):
                        file.unlink()
                    told.clear()
                bed.restart()
        alive = [id_ for id_, job in bed.slurm.jobs.items() if job["job_state"] in {"PENDING", "RUNNING"}]
        assert poll() == len(alive)
        assert len(told) == len(set(told))
    bed.slurm.set("COMPLETED")
    assert poll() == 0
    assert len(told) == len(set(told)) == len(bed.slurm.jobs)


def test_ends_that_nothing_tells_are_told_of_on_change(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2):
        bed.batch.submit(bed.order(name=f"s{number}"))
        bed.poll()
        bed.slurm.jobs.clear()
        for _ in range(2):
            bed.poll()
    assert [record.getMessage() for record in caplog.records] == [f"slurm local: {LOST}"]
