# Read by other scripts: install_packages NAME... installs what is missing with apt, and elsewhere says what is needed.

# Does the system have what the package of that name brings?
have_package() {
    case $1 in
    gcc) command -v cc >/dev/null || command -v gcc >/dev/null ;;
    meson) command -v meson >/dev/null ;;
    ninja-build) command -v ninja >/dev/null ;;
    pkg-config) command -v pkg-config >/dev/null ;;
    libblis-serial-dev) echo '#include <blis.h>' | cc -E -x c - >/dev/null 2>&1 ||
        echo '#include <blis/blis.h>' | cc -E -x c - >/dev/null 2>&1 ;;
    libpng-dev) pkg-config --exists libpng ;;
    zlib1g-dev) pkg-config --exists zlib ;;
    libjansson-dev) pkg-config --exists jansson ;;
    libcairo2-dev) pkg-config --exists cairo ;;
    libjpeg62-turbo-dev) pkg-config --exists libjpeg ;;
    openmpi-bin) command -v mpirun >/dev/null ;;
    libopenmpi-dev) command -v mpicc >/dev/null ;;
    libcmocka-dev) pkg-config --exists cmocka ;;
    *) return 1 ;;
    esac
}

missing_packages() {
    for package; do
        have_package "$package" || printf ' %s' "$package"
    done
}

install_packages() {
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "needed, by the names of Debian's packages:$missing" >&2
        echo "no apt-get here: please install them with the tools of this system" >&2
        return 1
    fi
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    if [ -n "$as_root" ] && ! command -v sudo >/dev/null; then
        echo "missing:$missing; please install them as root" >&2
        return 1
    fi
    echo "installing:$missing"
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing ||
        { $as_root apt-get -qq update &&
              $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing; }
}
