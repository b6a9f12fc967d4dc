#!/bin/bash
# Installs what is missing of the named groups of packages.txt (default: build torch run test).
# Debian 12: with apt-get, as root or through sudo. Another system: prints what is missing, stops.
# Silent when nothing is missing. Never asks. `--list GROUP...` prints package names and ends.
#
# For its test: LACONIC_PACKAGES (the list), LACONIC_OS_RELEASE (which system this is).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
packages_file=${LACONIC_PACKAGES:-$here/packages.txt}
os_release=${LACONIC_OS_RELEASE:-/etc/os-release}
known_groups=" build torch run test lint arena server trainer "

# Prints "package|probe|reason" of every package in one of the groups "$@".
read_groups() {
  local line groups package probe reason group
  while IFS= read -r line; do
    [[ -z $line || $line == \#* ]] && continue
    IFS='|' read -r groups package probe reason <<<"$line"
    groups=${groups// /} package=${package// /} probe=${probe// /} reason=${reason# }
    for group in "$@"; do
      if [[ ,$groups, == *,$group,* ]]; then
        printf '%s|%s|%s\n' "$package" "$probe" "$reason"
        break
      fi
    done
  done <"$packages_file"
}

# True if what `probe` names is on this system.
is_present() {
  local probe=$1 prefix prefixes
  case $probe in
    cmd:*) command -v "${probe#cmd:}" >/dev/null ;;
    file:*)
      IFS=': ;' read -r -a prefixes <<<"/usr /usr/local ${CMAKE_PREFIX_PATH:-}"
      for prefix in "${prefixes[@]}"; do
        if compgen -G "$prefix/${probe#file:}" >/dev/null; then return 0; fi
      done
      return 1 ;;
    *) echo "install_packages.sh: $packages_file: unknown probe '$probe'" >&2; exit 2 ;;
  esac
}

is_debian_12() {
  local ID="" VERSION_ID=""
  # shellcheck disable=SC1090
  . "$os_release" 2>/dev/null || return 1
  [[ $ID == debian && $VERSION_ID == 12 ]]
}

# Prints the entries of `wanted` that are missing here.
find_missing() {
  local entry package rest probe installed=""
  if is_debian_12; then
    local names=()
    for entry in "${wanted[@]}"; do names+=("${entry%%|*}"); done
    installed=$(dpkg-query -W -f '${db:Status-Abbrev}|${Package}|\n' "${names[@]}" 2>/dev/null || true)
  fi
  for entry in "${wanted[@]}"; do
    package=${entry%%|*} rest=${entry#*|} probe=${rest%%|*}
    if is_debian_12; then
      [[ $installed == *"ii |$package|"* ]] || printf '%s\n' "$entry"
    else
      is_present "$probe" || printf '%s\n' "$entry"
    fi
  done
}

print_missing() {
  local entry
  for entry in "$@"; do
    printf '  %-26s %s\n' "${entry%%|*}" "${entry##*|}" >&2
  done
}

# Debian starts a service when its package is installed, and again at every boot. The test wants
# the program prometheus, not a daemon on port 9090.
install_without_starting_services() {
  local as_root=("$@") policy=/usr/sbin/policy-rc.d made_policy=0 status=0
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    made_policy=1
  fi
  apt_install "${as_root[@]}" || status=$?
  if [[ $made_policy == 1 ]]; then "${as_root[@]}" rm -f "$policy"; fi
  if [[ $status == 0 && " ${names[*]} " == *" prometheus "* ]]; then
    if command -v systemctl >/dev/null; then
      "${as_root[@]}" systemctl --quiet disable prometheus.service
    else
      "${as_root[@]}" rm -f /etc/systemd/system/multi-user.target.wants/prometheus.service
    fi
  fi
  return "$status"
}

apt_install() {
  local apt=("$@" env DEBIAN_FRONTEND=noninteractive apt-get -y -q
    -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
  # The package index of a fresh machine or image is empty or old.
  if ! "${apt[@]}" install --no-install-recommends --simulate "${names[@]}" </dev/null >/dev/null 2>&1; then
    "${apt[@]}" update </dev/null >&2
  elif ! "${apt[@]}" install --no-install-recommends --download-only "${names[@]}" </dev/null >&2; then
    "${apt[@]}" update </dev/null >&2
  fi
  "${apt[@]}" install --no-install-recommends "${names[@]}" </dev/null >&2
}

main() {
  local list=0 group as_root=()
  if [[ ${1:-} == --list ]]; then list=1; shift; fi
  local groups=("$@")
  if [[ ${#groups[@]} == 0 ]]; then groups=(build torch run test); fi
  for group in "${groups[@]}"; do
    if [[ $known_groups != *" $group "* ]]; then
      echo "install_packages.sh: unknown group '$group', known are:$known_groups" >&2
      exit 2
    fi
  done
  if [[ ! -r $packages_file ]]; then
    echo "install_packages.sh: cannot read $packages_file" >&2
    exit 2
  fi
  mapfile -t wanted < <(read_groups "${groups[@]}")
  if [[ $list == 1 ]]; then printf '%s\n' "${wanted[@]%%|*}"; exit 0; fi

  local missing_text
  missing_text=$(find_missing)
  if [[ -z $missing_text ]]; then exit 0; fi
  mapfile -t missing <<<"$missing_text"
  names=("${missing[@]%%|*}")
  if ! is_debian_12; then
    echo "laconic: this system is not Debian 12, so nothing is installed for you. Missing" \
      "(names as in Debian 12):" >&2
    print_missing "${missing[@]}"
    echo "Install them with your system's tools, then run the same command again." >&2
    exit 1
  fi
  if [[ $(id -u) != 0 ]]; then
    as_root=(sudo -n)
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      echo "laconic: these packages are missing, and neither root nor sudo without a password is" \
        "at hand:" >&2
      print_missing "${missing[@]}"
      echo "Run as root: apt-get update && apt-get install --no-install-recommends ${names[*]}" >&2
      exit 1
    fi
  fi
  echo "laconic: installing ${#names[@]} packages of Debian 12:" >&2
  print_missing "${missing[@]}"
  install_without_starting_services "${as_root[@]}"
}

main "$@"
