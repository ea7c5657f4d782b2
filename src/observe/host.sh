# What a host shows of its secrets: a record a line, each begun with $nonce. It changes nothing, reads no value, and of
# an age identity only the public half leaves the host. POSIX sh, for NixOS, Debian, busybox and macOS. The words of the
# calls at its end are quoted by whoever appends them; `become` is `sudo` or `never`.
LC_ALL=C
PATH=$PATH:/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/bin:/opt/homebrew/bin:/usr/sbin:/sbin
export LC_ALL PATH

say() {
  printf '%s %s\n' "$nonce" "$*"
}

# Bytes as hexadecimal digits: no file and no link can forge a record.
hex() {
  od -An -v -tx1 | tr -dc 0-9a-f
}

# The target of a link, through all others.
target_of() {
  printf %s "$(readlink -f "$1" || readlink "$1")" | hex
}

# Whether `sudo -n` may be used and works.
sudo_works() {
  if [ -z "${sudo_state-}" ]; then
    sudo_state=no
    if [ "$become" = sudo ]; then
      if sudo -n true; then sudo_state=yes; else say note sudo-refused; fi
    fi
  fi
  [ "$sudo_state" = yes ]
}

# Sets $seen for the path $1: there, absent, or hidden by a directory that may not be searched.
look_for() {
  path=$1 turns=0
  while :; do
    if [ -e "$path" ]; then seen=there && return; fi
    directory=$path rest=
    while [ ! -L "$directory" ]; do
      if [ -d "$directory" ]; then
        if [ -x "$directory" ]; then seen=absent; else seen=hidden; fi
        return
      fi
      rest=/${directory##*/}$rest
      directory=${directory%/*}
      [ -n "$directory" ] || directory=/
    done
    # A link that leads nowhere, or somewhere hidden.
    turns=$((turns + 1))
    if [ "$turns" -gt 16 ]; then seen=absent && return; fi
    to=$(readlink "$directory")
    case $to in /*) ;; *) to=${directory%/*}/$to ;; esac
    path=$to$rest
  done
}

# Sets $run to what a command on the path $1 must begin with: nothing, or sudo. Fails when only root could tell.
# $2 is `-r` when the file itself is to be read.
reach() {
  run=
  look_for "$1"
  case $seen in
  absent) return 0 ;;
  there) if [ -z "$2" ] || [ -r "$1" ]; then return 0; fi ;;
  esac
  sudo_works || return 1
  run='sudo -n --'
  if $run test -e "$1"; then seen=there; else seen=absent; fi
}

# Whether the path $1 is a file: a device or a pipe has no end, and whoever reads it would outlive us.
is_file() {
  $run test -f "$1"
}

digest_of() {
  sum=$($run sha256sum -- "$1" || $run shasum -a 256 -- "$1" || $run sha256 -q -- "$1")
  # GNU begins the line with a backslash when the name has one.
  sum=${sum#\\}
  printf %s "${sum%% *}"
}

age_identity() {
  if ! reach "$1" -r; then say identity needs-root && return; fi
  if [ "$seen" = absent ]; then say identity absent && return; fi
  if ! is_file "$1"; then say identity opaque && return; fi
  if $run age-keygen --version >/dev/null; then
    key=$($run age-keygen -y "$1" | sed -n 1p)
  else
    key=$($run sed -n 's/^# public key: \(age1[0-9a-z]*\)$/\1/p' "$1" | sed -n 1p)
  fi
  if [ -n "$key" ]; then say identity age "$key"; else say identity opaque; fi
}

ssh_host_key() {
  look_for "$1"
  if [ "$seen" = absent ]; then
    say identity absent
  elif [ -f "$1" ] && [ -r "$1" ]; then
    say identity ssh "$(sed -n 1p "$1")"
  else
    say identity needs-root
  fi
}

# When what is at $2 was last changed; of a link, not of where it leads.
changed() {
  time=$(stat -c %.9Y "$2" || stat -f %Fm "$2")
  if [ -n "$time" ]; then say time "$1" "$time"; fi
}

# The manifests of sops-nix that a file of the running system names.
manifests_in() {
  sed -n 's|.*sops-install-secrets \(-ignore-passwd \)\{0,1\}\(/nix/store/[^ ;"]*\.json\).*|\2|p' "$1" | sort -u
}

installer() {
  style=$1 manifest=$2 kind=secrets link=/run/secrets
  case $manifest in *-for-users*) kind=users link=/run/secrets-for-users ;; esac
  case $style in
  systemd)
    unit=sops-install-secrets
    if [ "$kind" = users ]; then unit=$unit-for-users; fi
    state=$(systemctl show -p ActiveState -p Result "$unit.service" | sort | tr '\n' ' ')
    say installer "$kind" systemd "$state"
    ;;
  *) say installer "$kind" activation ;;
  esac
  if [ -L "$link" ]; then changed "$kind" "$link"; fi
  # It has no value; one that is longer than this is not understood, and tells nothing.
  say manifest "$(od -An -v -tx1 -N 262144 "$manifest" | tr -dc 0-9a-f)"
  # Nix writes JSON on one line.
  tr ',' '\n' <"$manifest" | sed -n 's|.*"sopsFile" *: *"\(/[^"]*\)".*|\1|p' | sort -u | while read -r file; do
    run=
    if [ -f "$file" ] && [ -r "$file" ]; then say installs "$(digest_of "$file")" "$(printf %s "$file" | hex)"; fi
  done
}

system() {
  at=/run/current-system
  if [ ! -e "$at" ]; then return; fi
  say system "$(target_of "$at")"
  changed system "$at"
  profile=/nix/var/nix/profiles/system
  if [ -e "$profile" ]; then
    say profile "$(target_of "$profile")"
    changed profile "$profile"
  fi
}

sops_nix() {
  at=/run/current-system
  for manifest in $(manifests_in "$at/activate"); do
    installer activation "$manifest"
  done
  for unit in "$at"/etc/systemd/system/sops-install-secrets*.service; do
    if [ -r "$unit" ]; then
      for manifest in $(manifests_in "$unit"); do installer systemd "$manifest"; done
    fi
  done
  generation /run/secrets
}

# The live generation behind the link $1, and what our own activation wrote down of it.
generation() {
  if [ ! -L "$1" ]; then return; fi
  live=$(readlink "$1")
  say generation "$(printf %s "$live" | hex)"
  record=$1.d/${live##*/}.json
  if reach "$record" -r && [ "$seen" = there ]; then
    say record "$($run od -An -v -tx1 -N 4096 "$record" | tr -dc 0-9a-f)"
  fi
}

sees() {
  if ! reach "$1" -r; then
    say sees needs-root
  elif [ "$seen" = absent ] || ! is_file "$1"; then
    say sees absent
  else
    say sees present "$(digest_of "$1")"
  fi
}

# With where the file really is, which tells the generation.
secret() {
  if ! reach "$2" ''; then
    say secret "$1" needs-root
  elif [ "$seen" = absent ]; then
    say secret "$1" absent
  else
    really=$(printf %s "$($run readlink -f "$2")" | hex)
    say secret "$1" present "${really:--} $($run stat -L -c '%s %a %U:%G' "$2" || $run stat -L -f '%z %Lp %Su:%Sg' "$2")"
  fi
}

# Whether the user $1 is logged in to rbw: whether the database of the configured account has tokens. They stay there.
rbw_of() {
  case $1 in
  "$(id -un)") home=$HOME ;;
  -* | *[!A-Za-z0-9_.-]*) home= ;;
  *) eval "home=~$1" ;;
  esac
  case $home in /*) ;; *) say rbw no-user && return ;; esac
  for config in "$home/.config/rbw/config.json" "$home/Library/Application Support/rbw/config.json"; do
    if ! reach "$config" -r; then say rbw needs-root && return; fi
    if [ "$seen" = there ]; then break; fi
  done
  if [ "$seen" = absent ]; then say rbw unconfigured && return; fi
  email=$($run sed -n 's/.*"email" *: *"\([^"]*\)".*/\1/p' "$config" | sed -n 1p)
  if [ -z "$email" ]; then say rbw unconfigured && return; fi
  server=$($run sed -n 's/.*"base_url" *: *"\([^"]*\)".*/\1/p' "$config" | sed -n '1s/%/%25/g; 1s|/|%2F|g; 1s/:/%3A/g; 1p')
  for cache in "$home/.cache/rbw" "$home/Library/Caches/rbw"; do
    database=$cache/${server:-default}:$email.json
    if ! reach "$database" -r; then say rbw needs-root && return; fi
    if [ "$seen" = there ] && has_tokens "$database"; then say rbw logged-in && return; fi
  done
  say rbw logged-out
}

has_tokens() {
  for token in access_token refresh_token protected_key; do
    $run grep -q "\"$token\" *: *\"" "$1" || return 1
  done
}

# A file that anybody may read; a private key is not sent.
public() {
  look_for "$2"
  if [ "$seen" = absent ]; then
    say public "$1" absent
  elif [ ! -f "$2" ] || [ ! -r "$2" ]; then
    say public "$1" unreadable
  elif grep -q -e 'PRIVATE KEY' -e AGE-SECRET-KEY- "$2"; then
    say public "$1" private
  else
    say public "$1" content "$(od -An -v -tx1 -N 16385 "$2" | tr -dc 0-9a-f)"
  fi
}

