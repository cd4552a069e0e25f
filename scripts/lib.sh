# Shared by the scripts: where the project is, how to say things, and how missing tools get here.
# Sourced, not run. Works from any folder; writes nothing outside of the project and ${CACHE}.
# shellcheck shell=bash

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/trapline"
export PATH="$PATH:$CACHE"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 69; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root without asking anybody for a password, or fails.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

can_be_root() { as_root true 2>/dev/null; }

# One update of the package lists per run, and only when something has to be installed.
APT_UPDATED=
apt_install() {
    have apt-get && can_be_root || return 1
    if [ -z "$APT_UPDATED" ]; then
        say "updating the package lists"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || return 1
        APT_UPDATED=1
    fi
    say "installing: $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The directory of a Debian multiarch library below an unpacked package.
library_path() {
    local dir
    for dir in "$CACHE"/unpacked/usr/lib/*-linux-gnu* "$CACHE"/unpacked/lib/*-linux-gnu*; do
        if [ -d "$dir" ]; then
            printf '%s:' "$dir"
        fi
    done
}

redis_runs() { have redis-server && redis-server --version >/dev/null 2>&1; }

# Installs Debian's redis-tools, which holds the server (redis-check-rdb is the same program under another name) and,
# unlike the package redis-server, starts no service; or, where that does not hold, redis-server itself.
redis_from_apt() {
    if apt_install redis-tools && [ -x /usr/bin/redis-check-rdb ] && ! have redis-server; then
        mkdir -p "$CACHE"
        ln -sf /usr/bin/redis-check-rdb "$CACHE/redis-server"
    fi
    redis_runs || apt_install redis-server
}

# Unpacks the same package into the cache: no root, nothing to remove later.
redis_from_package() {
    have apt-get && have dpkg || return 1
    local packages=redis-tools round missing libs
    mkdir -p "$CACHE/packages" "$CACHE/unpacked"
    for round in 1 2; do
        say "unpacking into $CACHE: $packages"
        # shellcheck disable=SC2086 # a list of words
        (cd "$CACHE/packages" && rm -f ./*.deb && apt-get download -qq $packages >/dev/null 2>&1) || return 1
        local package
        for package in "$CACHE"/packages/*.deb; do
            dpkg -x "$package" "$CACHE/unpacked" || return 1
        done
        write_redis_starters
        "$CACHE/redis-server" --version >/dev/null 2>&1 && return 0
        [ "$round" = 1 ] || return 1
        # What the machine lacks: the libraries that the server names and the loader does not find.
        missing=$(LD_LIBRARY_PATH="$(library_path)" ldd "$CACHE/unpacked/usr/bin/redis-check-rdb" 2>/dev/null \
            | sed -n 's/^[[:space:]]*\(lib[^ ]*\) => not found.*/\1/p')
        libs=
        local lib
        for lib in $missing; do
            case $lib in
                libjemalloc.so.2) libs="$libs libjemalloc2" ;;
                liblzf.so.1) libs="$libs liblzf1" ;;
                libatomic.so.1) libs="$libs libatomic1" ;;
                libssl.so.3 | libcrypto.so.3) libs="$libs libssl3" ;;
                libsystemd.so.0) libs="$libs libsystemd0" ;;
                liblua5.1.so.0) libs="$libs liblua5.1-0" ;;
                libhiredis.so.*) libs="$libs libhiredis${lib##*.so.}" ;;
                *) return 1 ;;
            esac
        done
        [ -n "$libs" ] || return 1
        packages=$libs
    done
    return 1
}

# redis-server is redis-check-rdb under another name. A link is enough where its libraries are installed; otherwise
# a starter that knows where they were unpacked.
write_redis_starters() {
    ln -sf redis-check-rdb "$CACHE/unpacked/usr/bin/redis-server"
    local name
    for name in redis-server redis-cli; do
        if "$CACHE/unpacked/usr/bin/$name" --version >/dev/null 2>&1; then
            ln -sf "$CACHE/unpacked/usr/bin/$name" "$CACHE/$name"
        else
            rm -f "$CACHE/$name"
            {
                printf '#!/bin/sh\n'
                printf 'export LD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:-}"\n' "$(library_path)"
                printf 'exec "%s" "$@"\n' "$CACHE/unpacked/usr/bin/$name"
            } >"$CACHE/$name"
            chmod +x "$CACHE/$name"
        fi
    done
}

# What the programs in docs/keys.md are run with. In a folder of its own, a few seconds and some 40 MB, once; a change
# of the list makes a new folder. Into the system go only python3, pip,
# node and npm themselves, where they are missing and required.
SNIPPETS="$CACHE/snippets-1"

# Interpreters are large: they are installed only where they are required.
snippets_apt() { [ "${TRAPLINE_REQUIRE_SNIPPETS:-}" = 1 ] && apt_install "$@"; }

snippets_python() {
    [ -e "$SNIPPETS/python/.done" ] && return 0
    have python3 || snippets_apt python3-minimal python3-venv || return 1
    say "fetching redis-py and jsonschema"
    rm -rf "$SNIPPETS/python"
    mkdir -p "$SNIPPETS"
    if ! python3 -m pip --version >/dev/null 2>&1; then
        snippets_apt python3-pip || return 1
    fi
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --retries 3 --timeout 10 --target "$SNIPPETS/python" 'redis>=5,<9' 'jsonschema>=4,<5' >&2 || return 1
    touch "$SNIPPETS/python/.done"
}

snippets_node() {
    [ -e "$SNIPPETS/node/.done" ] && return 0
    { have node && have npm; } || snippets_apt nodejs npm || return 1
    say "fetching ioredis and typescript"
    rm -rf "$SNIPPETS/node"
    mkdir -p "$SNIPPETS/node"
    # The least wait is said too: npm refuses a greatest one that is below its own least of ten seconds.
    npm install --silent --no-audit --no-fund --no-save --fetch-retries=3 --fetch-retry-mintimeout=1000 \
        --fetch-retry-maxtimeout=5000 --fetch-timeout=20000 --prefix "$SNIPPETS/node" \
        'ioredis@^5' 'typescript@^5' '@types/node@^20' >&2 || return 1
    touch "$SNIPPETS/node/.done"
}
