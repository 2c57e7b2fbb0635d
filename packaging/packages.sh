# SPDX-License-Identifier: ISC
# Read by the scripts beside it: puts in place the Debian packages that they need.
# shellcheck shell=bash

# What a build needs, beside the Swift toolchain.
build_packages=(libssl-dev libpam0g-dev zlib1g-dev liblmdb-dev pkg-config)

# Runs a command as root: as it is, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "This needs root, and there is no sudo here. As root, run:" >&2
        echo "    $*" >&2
        return 1
    fi
}

# Which of these packages are not installed.
missing_packages() {
    local package
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
            echo "$package"
    done
}

# Installs those of these packages that are missing, and says so. Nothing that they bring is
# started: a mail server fresh from its package would serve the whole network.
install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" = 0 ] && return 0
    echo "Installing Debian packages: ${missing[*]}"
    local policy=/usr/sbin/policy-rc.d made_policy=
    if [ ! -e "$policy" ]; then
        made_policy=1
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    local status=0
    local quiet=(-qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
    local options=(-y --no-install-recommends -o Dpkg::Options::=--force-confold)
    as_root timeout 900 env DEBIAN_FRONTEND=noninteractive \
        sh -c 'apt-get "$@" update' apt-get "${quiet[@]}" </dev/null >&2 ||
        echo "The lists of packages could not be refreshed; going on with those that are here." >&2
    as_root timeout 1200 env DEBIAN_FRONTEND=noninteractive \
        apt-get "${quiet[@]}" install "${options[@]}" "${missing[@]}" </dev/null >&2 || status=$?
    [ -z "$made_policy" ] || as_root rm -f "$policy"
    if [ "$status" != 0 ]; then
        echo "These packages could not be installed: ${missing[*]}" >&2
        return 1
    fi
}

# Says where to get the toolchain, if there is none.
need_swift() {
    command -v swift >/dev/null && return 0
    # Where the toolchain's own installers put it, for a root shell that did not read a profile.
    local place
    for place in /opt/swift/usr/bin /usr/share/swift/usr/bin /root/.local/share/swiftly/bin; do
        if [ -x "$place/swift" ]; then
            PATH=$place:$PATH
            return 0
        fi
    done
    echo "There is no Swift here. Martlet wants Swift 6.3 or later: https://www.swift.org/install" >&2
    return 1
}
