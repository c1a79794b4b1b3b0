#!/bin/sh
# The thin bootstrap: what a batch system starts as a pilot.
#
#   autopyfactory-bootstrap.sh [--workdir DIR] [--] COMMAND [ARGUMENT...]
#
# Tells the monitor (APFMON, APFFID and APFCID in the environment, all three or nothing) that the pilot runs,
# makes a private work directory below DIR (default: the batch system's scratch, else TMPDIR, else /tmp), runs
# the command in it as a process group of its own, passes signals on, tells the monitor the exit code, removes
# the directory and returns the command's exit code. Own codes: 1 wrong option or no work directory, 127 no
# command. The monitor never delays the command, and a dead one costs at most 5 seconds at the end.

# shellcheck disable=SC2317,SC2329  # functions that only traps call
set -u

launched=
payload=
reporter=
work=
caught=
parent=${_CONDOR_SCRATCH_DIR:-${TMPDIR:-/tmp}}

say() {
    printf '%s autopyfactory-bootstrap: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1"
}

# post STATE CONNECT_SECONDS TOTAL_SECONDS: tell the monitor, print the HTTP code of its answer, if any.
post() {
    url=${APFMON%/}/jobs/$APFFID:$APFCID
    if command -v curl >/dev/null 2>&1; then
        curl -s -o /dev/null -w '%{http_code}' --connect-timeout "$2" --max-time "$3" -d "$1" "$url"
    elif command -v wget >/dev/null 2>&1; then
        limit=
        command -v timeout >/dev/null 2>&1 && limit="timeout $3"
        # shellcheck disable=SC2086  # two words, or none
        $limit wget -S -O /dev/null --tries=1 --timeout="$2" --post-data="$1" "$url" 2>&1 |
            sed -n 's,^ *HTTP/[0-9.]* \([0-9]*\).*,\1,p' | tail -n 1
    else
        echo 400
    fi
}

# A fast node may call before the factory has registered the pilot (404), and monitors have bad minutes (5xx,
# no answer): try again. Any other answer is final. TERM: the pilot ends, do not wait any more.
report_running() {
    hurry=
    nap=
    trap 'hurry=1; [ -z "$nap" ] || kill "$nap"' TERM
    for try in 1 2 3 4; do
        case $(post state=running 10 20) in
        404 | 5?? | 000 | '') ;;
        *) exit 0 ;;
        esac
        [ -z "$hurry" ] && [ "$try" -lt 4 ] || exit 1
        sleep 30 &
        nap=$!
        wait "$nap"
        nap=
    done
}

report_exiting() {
    # The monitor takes `exiting` only after `running`: let that come to its end, for 2 seconds.
    kill -s TERM "$reporter" 2>/dev/null
    (
        sleep 2
        kill -s KILL "$reporter"
    ) &
    guard=$!
    wait "$reporter"
    kill -s KILL "$guard" # TERM is ignored by now
    post "state=exiting&rc=$1" 2 3
}

pass_on() {
    caught=$1
    # The command may run already while the line that notes its number has not.
    [ -n "$payload" ] || [ -z "$launched" ] || [ "${!:-}" = "$reporter" ] || payload=$!
    [ -n "$payload" ] || exit $((128 + $2))
    say "caught $1, passed on to the command"
    # A shell starts background commands with INT and QUIT ignored, so the command gets TERM for them.
    case $1 in INT | QUIT) set -- TERM ;; esac
    kill -s "$1" -- "-$payload" 2>/dev/null || kill -s "$1" "$payload" 2>/dev/null
}

finish() {
    rc=$1
    trap '' HUP INT QUIT TERM USR1 USR2 XCPU
    trap - EXIT
    [ -z "$reporter" ] || report_exiting "$rc" >/dev/null 2>&1
    if [ -n "$work" ]; then
        cd / && rm -rf -- "$work"
    fi
    say "exit code $rc"
    exit "$rc"
}

trap 'finish $?' EXIT
trap 'pass_on HUP 1' HUP
trap 'pass_on INT 2' INT
trap 'pass_on QUIT 3' QUIT
trap 'pass_on USR1 10' USR1
trap 'pass_on USR2 12' USR2
trap 'pass_on TERM 15' TERM
trap 'pass_on XCPU 24' XCPU

if [ -n "${APFMON:-}" ] && [ -n "${APFFID:-}" ] && [ -n "${APFCID:-}" ]; then
    # A TERM before it has set its own trap must not end the report of a pilot that ends at once.
    trap '' TERM
    report_running >/dev/null 2>&1 </dev/null &
    reporter=$!
    trap 'pass_on TERM 15' TERM
fi

while [ $# -gt 0 ]; do
    case $1 in
    --workdir)
        [ $# -gt 1 ] || { say "--workdir needs a directory"; exit 1; }
        parent=$2
        shift 2
        ;;
    --)
        shift
        break
        ;;
    -*)
        say "unknown option $1, write -- before the command"
        exit 1
        ;;
    *) break ;;
    esac
done
if [ $# -eq 0 ]; then
    say "no command to run, give it as arguments"
    exit 127
fi

# The command is looked up where we were started: files that travelled with the pilot lie there.
case $1 in
/*) ;;
*/*)
    command=$PWD/$1
    shift
    set -- "$command" "$@"
    ;;
esac
work=$(mktemp -d "$parent/apf.XXXXXXXXXX") || exit 1
cd "$work" || exit 1
say "pilot ${APFCID:-without a name} on $(uname -n): $1 in $work"

launched=1
if command -v setsid >/dev/null 2>&1; then
    setsid "$@" &
else
    "$@" &
fi
payload=$!
wait "$payload"
rc=$?
while [ -n "$caught" ]; do
    # The signal ended the wait, not the command; 127: the wait had its answer all the same.
    caught=
    wait "$payload"
    again=$?
    [ "$again" -eq 127 ] || rc=$again
done
exit "$rc"
