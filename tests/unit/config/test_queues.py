from fractions import Fraction
from pathlib import Path

import pytest

from autopyfactory.config.catalogue import BATCH
from autopyfactory.config.loader import load
from autopyfactory.errors import ConfigError
from tests.unit.config.fakes import MAIN, QUEUE, Files, Strict

FORK = "backend = fork\nsubmit_user = u\nrules = fixed\nfixed = 1\n"
USERS = MAIN.replace("id = test", "id = test\nsubmit_users = u")
FIXED = "backend = condor\ntype = vanilla\nrules = fixed\nfixed = 1\n"


def test_a_queue_with_everything(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN + "[credential prod]\nfile = /p\n[monitor apfmon]\n[schedd ap1]\n")
    files.write("queues.conf", "[DEFAULT]\nbatchqueue = %(wmsqueue)s-batch\nallow_same_user = yes\nmax_pending = 100\n")
    files.write(
        "queues.d/10.conf",
        f"[Q]\n{QUEUE}source = ap1\nproxy = prod, /etc/other\nmonitor = apfmon\ninterval = 6m\nshare = 1/3\n"
        "memory = 16GB\n"
        "resource_types = MCORE\ncores = 8\nmax_pending = none\nready.offset = 2\nspool = yes\n"
        "submit.+ioIntensity = 1\nsubmit.Want_X = %%d\nenv.RUCIO_ACCOUNT = pilot\n",
    )
    config = files.load()
    assert not config.problems
    queue = config.queues["Q"]
    assert queue.options.batchqueue == "Q-batch"
    assert queue.options.source == "ap1"
    assert queue.options.proxy == ("prod", "/etc/other")
    assert queue.options.share == Fraction(1, 3)
    assert (queue.options.interval, queue.options.memory) == (360.0, 16 * 10**9)
    assert (queue.rules.max_pending, queue.rules.ready_offset) == (None, 2)
    assert queue.backend.model_dump() == {"spool": True, "requirements": ""}
    assert queue.submit == {"+ioIntensity": "1", "Want_X": "%d"}
    assert queue.environment == {"RUCIO_ACCOUNT": "pilot"}
    assert config.origins["Q", "batchqueue"] == f"{files.folder}/queues.conf:2"
    assert config.origins["Q", "cores"] == f"{files.folder}/queues.d/10.conf:13"


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("max_pendin = 4", "6: [Q] max_pendin: unknown option, did you mean 'max_pending'?"),
        ("MAX_PENDING = 4", "6: [Q] MAX_PENDING: unknown option, did you mean 'max_pending'?"),
        ("ready_offset = 4", "6: [Q] ready_offset: unknown option, did you mean 'ready.offset'?"),
        ("sched.maxpending.maximum = 4", "6: [Q] sched.maxpending.maximum: is the name of AutoPyFactory 2, write"),
        ("+x = 1", "6: [Q] +x: an attribute is written 'submit.+x = ...'"),
        ("submit. = 1", "6: [Q] submit.: '' is no name that could stand there"),
        ("submit.+a b = 1", "6: [Q] submit.+a b: 'a b'".replace("'a b'", "'+a b'")),
        ("env.A-B = 1", "6: [Q] env.A-B: 'A-B' is no name that could stand there"),
        ("cores = 0", "6: [Q] cores: '0' is too little, write 1 or more"),
        ("walltime = 0s", "6: [Q] walltime: '0s' is too little, write more than 0"),
        ("walltime = SCORE:1h, MCORE:0s", "6: [Q] walltime: '0s' is too little, write more than 0"),
        ("cores = many", "6: [Q] cores: 'many' is no whole number"),
        ("cores = " + "9" * 5000, "6: [Q] cores: '" + "9" * 80 + "' is too large a number"),
        ("max_pending =", "6: [Q] max_pending: '' is no whole number"),
        ("max_pilots = none", "6: [Q] max_pilots: 'none' is no whole number"),
        ("share = 2", "6: [Q] share: '2' is too much, write 1 or less"),
        ("submit.not = x", "6: [Q] submit.not: take it out"),
        ("submit.crash = x", "4: [Q] backend: its check of submit.X failed: RuntimeError: oh"),
        ("interval = 0.01s", "6: [Q] interval: '0.01s' is too little, write 0.1s or more"),
        (
            "walltime = 1d\nmax_running_age = 24h",
            "7: [Q] max_running_age: would end pilots that do as they asked, write 1d1h",
        ),
        ("enabled = maybe", "6: [Q] enabled: 'maybe' is neither yes nor no"),
        ("arguments = 'x", "6: [Q] arguments: a quotation mark or a backslash"),
        ("rules =", "6: [Q] rules: is empty, name at least one rule, for example ready"),
        ("rules = redy", "6: [Q] rules: 'redy' is no rule, did you mean 'ready'?"),
        ("rules = ready, ready", "6: [Q] rules: 'ready' stands there twice, take one away"),
        ("rules = fixed", "1: [Q] fixed: is missing, write 'fixed = ...', which the rule 'fixed' needs"),
        ("monitor = apfmon", "6: [Q] monitor: no section [monitor apfmon] in the main file, there is none at all"),
        ("proxy = prod", "6: [Q] proxy: no section [credential prod] in the main file (name one or an absolute path)"),
        ("source = ap1", "6: [Q] source: no section [schedd ap1] in the main file, there is none at all"),
        ("executable = /no/such/file", "6: [Q] executable: there is no file /no/such/file, install it or correct"),
        ("executable = /etc/passwd", "6: [Q] executable: /etc/passwd is not executable, chmod +x it"),
        ("executable = wrapper.sh", "6: [Q] executable: 'wrapper.sh' is no absolute path"),
        ("executable = /" + "x" * 300, "6: [Q] executable: /" + "x" * 300 + " cannot be looked at: File name too long"),
        ("subtype = arc", "6: [Q] subtype: the backend 'condor' with type 'vanilla' has no subtype, take 'arc' away"),
        ("spool = perhaps", "6: [Q] spool: 'perhaps' is neither yes nor no"),
        ("arguments = %(nothing)s", "6: [Q] arguments: %(nothing)s names an option that is not set"),
        ("arguments = 100%", "6: [Q] arguments: a lone % (here or in an option it names), write %% or %(option)s"),
        ("no option", "6: [Q]: this line is no 'option = value', write one or begin the line with #"),
    ],
)
def test_what_takes_a_queue_out(files: Files, extra: str, problem: str) -> None:
    found = files.queue(extra)
    assert len(found) == 1, found
    assert any(text.startswith(f"queues.conf:{problem}") for text in found)
    assert files.load().out == {"Q"}


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ("wms = panda\nwmsqueue = Q\n", "1: [Q] backend: is missing, write 'backend = ...'"),
        ("backend = condr\n" + FIXED[17:], "2: [Q] backend: 'condr' is no backend, did you mean 'condor'?"),
        (
            "backend = condor\nrules = fixed\nfixed = 1\n",
            "1: [Q] type: is missing, the backend 'condor' has grid, vanilla",
        ),
        (
            FIXED.replace("vanilla", "vanila"),
            "3: [Q] type: 'vanila' is not known, the backend 'condor' has grid, vanilla, did",
        ),
        (FIXED.replace("condor", "fork"), "3: [Q] type: the backend 'fork' has no type, take 'vanilla' away"),
        (
            "wms = panda\nbackend = condor\ntype = vanilla\n",
            "1: [Q] wmsqueue: is missing, the rule 'ready' needs demand",
        ),
        ("wmsqueue = Q\nbackend = condor\ntype = vanilla\n", "1: [Q] wms: is missing, the rule 'ready' needs demand"),
        (
            "wms = pand\nwmsqueue = Q\n" + FIXED,
            "2: [Q] wms: no section [wms pand] in the main file, there is panda, did",
        ),
        (FIXED + "status_test = 1\n", "6: [Q] status_test: needs the status of a site: set wms and wmsqueue, or write"),
        (
            "wms = panda\n" + FIXED + "status_test = 1\n",
            "1: [Q] wmsqueue: is missing, status_test needs the status of a site: set wmsqueue, or write",
        ),
        (
            "backend = strict\nrules = fixed\nfixed = 1\n",
            "1: [Q] source: is missing, write a section [controller NAME]",
        ),
    ],
)
def test_what_a_queue_must_say(files: Files, base: str, problem: str) -> None:
    found = files.queue("", base=base)
    assert any(text.startswith(f"queues.conf:{problem}") for text in found)
    assert files.load().out == {"Q"}


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("rules = ready, max_pending", "6: [Q] rules: warning: 'max_pending' is a limit, which acts whenever"),
        ("status_test = 1\nrules = ready, status_test", "7: [Q] rules: warning: 'status_test' is a gate"),
        ("share = 0", "6: [Q] share: warning: is 0, so the queue has no part of any demand"),
        ("weight = 0", "6: [Q] weight: warning: is 0"),
        ("submit.nod = x", "6: [Q] submit.nod: warning: take it out"),
        ("fixed = 3", "6: [Q] fixed: warning: is never read, for the rule 'fixed' is not in rules"),
        (
            "allow_same_user = yes",
            "6: [Q] allow_same_user: warning: is never read: it belongs to queues with backend = fork",
        ),
    ],
)
def test_what_is_worth_a_warning(files: Files, extra: str, problem: str) -> None:
    [found] = files.queue(extra)
    assert found.startswith(f"queues.conf:{problem}")
    assert list(files.load().queues) == ["Q"]


def test_what_a_backend_never_reads(files: Files) -> None:
    files.write("autopyfactory.conf", USERS)
    files.write("queues.conf", f"[DEFAULT]\nsubmit.x = 1\n[Q]\n{FORK}submit.+y = 1\n")
    said = "is never read: backend = fork has no submit description"
    assert files.texts() == [f"queues.conf:8: [Q] submit.+y: warning: {said}"]


def test_nothing_is_retired_where_each_type_counts_alone(files: Files) -> None:
    assert files.queue("retire = 5") == []
    [found] = files.queue("cores = A:1, B:8\nretire = 5")
    assert found.startswith(
        "queues.conf:7: [Q] retire: warning: does nothing, for this queue counts each resource type"
    )
    files.write("queues.conf", f"[DEFAULT]\nretire = 5\n[Q]\n{QUEUE}cores = A:1, B:8\n")
    assert files.texts() == []


@pytest.mark.parametrize("option", ["fixed = 3", "allow_same_user = yes", "spool = no", "status_test = 1"])
def test_in_default_nobody_minds(files: Files, option: str) -> None:
    files.write("queues.conf", f"[DEFAULT]\n{option}\n[Q]\n{QUEUE}")
    assert files.texts() == []


def test_an_option_that_others_name_is_a_helper(files: Files) -> None:
    assert files.queue("site = X\nenv.SITE = %(site)s") == []


def test_backend_and_type_of_default_do_not_disturb_a_queue_of_another_backend(files: Files) -> None:
    files.write("autopyfactory.conf", USERS)
    files.write(
        "queues.conf",
        f"[DEFAULT]\n{FIXED}[C]\n[F]\nbackend = fork\nsubmit_user = u\n",
    )
    assert files.texts() == []
    assert files.load().queues["F"].options.type == ""


def test_sources_that_nobody_named_are_added_once_and_last(files: Files) -> None:
    files.write("autopyfactory.conf", USERS + "[fork big]\n")
    files.write(
        "queues.conf",
        f"[A]\n{FORK}[B]\n{FIXED}[C]\n{FIXED}[D]\n{FORK}source = big\n",
    )
    config = files.load()
    assert [(name, part.kind, part.name) for name, part in config.sources.items()] == [
        ("big", "fork", "big"),
        ("local", "schedd", "local"),
        ("fork local", "fork", "local"),
    ]
    assert {name: queue.options.source for name, queue in config.queues.items()} == {
        "A": "fork local",
        "B": "local",
        "C": "local",
        "D": "big",
    }
    assert files.texts() == [
        "queues.conf:1: [A] source: warning: is not set, so the queue uses the local fork with default options; "
        "write one of big"
    ]


def test_a_section_named_local_is_the_local_source(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN + "[schedd local]\nname = here\n")
    assert files.queue("") == []
    config = files.load()
    assert list(config.sources) == ["local"]
    assert config.sources["local"].options.model_dump()["name"] == "here"


def test_a_source_of_another_backend_is_told_as_such(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN + "[fork big]\n[schedd ap1]\n")
    assert files.queue("source = big") == [
        "queues.conf:6: [Q] source: no section [schedd big] in the main file, there is ap1, "
        "[fork big] serves another backend"
    ]


def test_two_kinds_of_source_may_have_one_name(files: Files) -> None:
    files.write("autopyfactory.conf", USERS + "[fork a]\n[schedd a]\n")
    files.write(
        "queues.conf",
        f"[Q]\n{QUEUE}source = a\n[F]\n{FORK}source = a\n",
    )
    config = files.load()
    assert not config.problems
    assert (config.queues["F"].options.source, config.queues["Q"].options.source) == ("a", "schedd a")


def test_credentials_have_a_kind(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN + "[credential t]\nkind = token\nfile = /t\n")
    [found] = files.queue("proxy = t\ntoken = t")
    assert found == "queues.conf:6: [Q] proxy: [credential t] is of the kind 'token', not 'proxy'"


def test_the_backend_has_a_word(files: Files) -> None:
    base = "backend = fork\nrules = fixed\nfixed = 1\n"
    assert files.queue("", base=base) == ["queues.conf:1: [Q]: needs an account: set submit_user"]
    assert files.queue("submit_user = x", base=base) == ["queues.conf:5: [Q] submit_user: is not in submit_users"]
    assert files.queue("submit_user = crash", base=base) == [
        "queues.conf:2: [Q] backend: the check of 'fork' failed: RuntimeError: oh"
    ]


def test_the_backend_may_warn_of_what_the_section_sets_itself(files: Files) -> None:
    base = "backend = fork\nrules = fixed\nfixed = 1\n"
    assert files.queue("submit_user = warn", base=base) == [
        "queues.conf:1: [Q]: warning: mind: this too",
        "queues.conf:5: [Q] submit_user: warning: mind it",
    ]
    assert not files.load().out


def test_a_backend_without_rows_takes_any_type(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN + "[controller c]\nhost = h\n")
    assert files.queue("", base="backend = strict\ntype = new\nsource = c\nrules = fixed\nfixed = 1\n") == []
    assert files.load({(BATCH, "strict"): Strict}).queues["Q"].options.type == "new"


def test_a_disabled_queue_costs_nothing_whatever_its_mistakes(files: Files) -> None:
    assert files.queue("enabled = no") == []
    config = files.load()
    assert (list(config.queues), config.sources) == ([], {})
    assert config.disabled["Q"] is not None
    [found] = files.queue("enabled = no\ncores = 0")
    assert found == "queues.conf:7: [Q] cores: warning: '0' is too little, write 1 or more"
    assert files.load().disabled == {"Q": None}


@pytest.mark.parametrize("name", ["a b", "a:b", "../x", "x" * 200, "a'b", "-x"])
def test_names_that_no_queue_can_have(files: Files, name: str) -> None:
    files.write("queues.conf", f"[{name}]\n{QUEUE}")
    [found] = files.texts()
    assert "is no name for a queue" in found
    assert files.load().out == {name}


@pytest.mark.parametrize("name", ["factory", "wms b", "schedd ap1"])
def test_a_section_of_the_main_file_is_sent_there(files: Files, name: str) -> None:
    files.write("queues.conf", f"[{name}]\nurl = x\n[A]\n{QUEUE}")
    assert files.texts() == [f"queues.conf:1: [{name}]: is a section of the main file, move it there"]
    assert files.load().out == {name}


def test_an_option_of_queues_in_the_main_file_is_sent_to_them(files: Files) -> None:
    with pytest.raises(
        ConfigError, match=r"max_pilots: unknown option here, it is one of queues: write it in queues.co"
    ):
        files.write("autopyfactory.conf", MAIN + "max_pilots = 4\n")
        files.load()


def test_what_begins_a_comment_is_told(files: Files) -> None:
    [found] = files.queue("cores = 8 # all")
    assert found.endswith(
        "'8 # all' is no whole number (a comment at the end of a line begins with ; and a blank before it)"
    )


def test_a_wrong_queue_is_out_and_the_others_run(files: Files) -> None:
    files.write("queues.conf", f"[A]\n{QUEUE}[B]\n{QUEUE}cores = 0\n[C]\n{QUEUE}")
    config = files.load()
    assert list(config.queues) == ["A", "C"]
    assert config.out == {"B"}


def test_an_executable(files: Files) -> None:
    path = files.write("wrapper.sh", "#!/bin/sh\n")
    path.chmod(0o755)
    assert files.queue(f"executable = {path}") == []


def test_a_queue_with_many_mistakes_tells_all_of_them(files: Files) -> None:
    found = files.queue("cores = 0\nmax_pendin = 1\nmonitor = x\nrules = redy\nspool = x\narguments = 5%")
    assert len(found) == 6


def test_a_wrong_main_file_still_raises(files: Files) -> None:
    files.write("autopyfactory.conf", "[factory]\n")
    files.write("queues.conf", f"[F]\nbackend = fork\nrules = fixed\nfixed = 1\n[Q]\n{QUEUE}")
    with pytest.raises(ConfigError) as caught:
        files.load()
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("by", "extra", "problems"),
    [
        ("label", "", []),
        (
            "label",
            "country = uk\n",
            [
                "country: warning: PanDA tells no counts by country: the demand is whole,"
                " the pilots ask for country only"
            ],
        ),
        (
            "share",
            "group = AP_Higgs\nglobal_shares = Higgs, Express\n",
            [
                "group: warning: PanDA tells no counts by group: the demand is limited to the shares Higgs, Express,"
                " the pilots ask for group only"
            ],
        ),
        (
            "label",
            "global_shares = Higgs\n",
            ["global_shares: is never read: [wms panda] does not count by share, write 'by = share'"],
        ),
        ("label", "releases = ptest\n", ["releases: 'ptest' is not LABEL:RELEASE, write for example ptest:RC, *:PR"]),
        ("label", "releases = ptest:RC, *:PR\n", []),
        ("label", "labels = ptest, rc_test\n", []),
        (
            "label",
            "labels = ptest, user\n",
            [
                "labels: warning: want pilots of different releases (ptest: RC, user: none),"
                " those of this queue are of no release in particular; make a queue of each"
            ],
        ),
        (
            "label",
            "labels = ptest\narguments = -q X -i PR\n",
            [
                "arguments: warning: has -i, and releases adds '-i RC' behind it;"
                " take it away here, or write 'releases ='"
            ],
        ),
        ("label", "labels = ptest\narguments = -q X -i PR\nreleases =\n", []),
    ],
)
def test_rights_go_to_the_pilot_and_check_says_what_that_means_for_the_demand(
    tmp_path: Path, by: str, extra: str, problems: list[str]
) -> None:
    (tmp_path / "autopyfactory.conf").write_text(
        f"[factory]\nid = F\n[wms panda]\nurl = http://panda.example.org\nby = {by}\n"
    )
    base = "wms = panda\nwmsqueue = Q\nbackend = fork\nallow_same_user = yes\n"
    (tmp_path / "queues.conf").write_text(f"[Q]\n{base}{extra}")
    found = [str(problem).split("[Q] ", 1)[1] for problem in load(tmp_path / "autopyfactory.conf").problems]
    assert [text for text in found if not text.startswith(("allow_same_user", "backend"))] == problems
