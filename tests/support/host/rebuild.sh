#!/usr/bin/env bash
# What `nixos-rebuild switch` does for sops-nix, inside a test host: the dataset goes into the store as the flake input
# that it is, sops-nix's manifests are made and checked, a system is built whose `activate` installs them, its
# activation runs. The order, the messages and what a failed activation leaves behind are those of NixOS.
#   /etc/nixos/{secrets,secrets-for-users}.json   the manifests, with @FILE@ for the sops file in the store, @HASH@ its hash
#   /etc/nixos/settings                           dataset: where it is seen, file: the sops file in it,
#                                                 behaviour: works | does-nothing | refuses | activation-fails, seconds: to wait
set -euo pipefail
umask 022
installer=/nix/store/0123456789abcdfghijklmnpqrsvwxyz-sops-install-secrets-0.0.1/bin/sops-install-secrets
. /etc/nixos/settings

sleep "$seconds"
case $behaviour in
does-nothing) exit 0 ;;
refuses)
  echo "error: the option \`sops.secrets' does not exist" >&2
  exit 1
  ;;
esac

# Moves $1 to its name in the store, which $2 ends: Nix's alphabet has no e.
store() {
  local digest path
  digest=$(cd "${1%/*}" && find "${1##*/}" -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum)
  digest=${digest:0:32}
  path=/nix/store/${digest//e/g}-$2
  if [ -e "$path" ]; then rm -r "$1"; else mv "$1" "$path"; fi
  echo "$path"
}
work=$(mktemp -d /nix/store/.building-XXXXXX)
trap 'rm -rf "$work"' EXIT

echo "building the system configuration..." >&2
mkdir "$work/source"
find "$dataset" -mindepth 1 -maxdepth 1 -type f ! -name '.*' -exec cp -t "$work/source" {} +
find "$work/source" -type f -exec chmod 444 {} +
chmod 755 "$work/source"
source=$(store "$work/source" source)
if [ ! -e "$source/$file" ]; then
  echo "error: generated.requireFile: $dataset has no $file" >&2
  exit 1
fi
hash=$(sha256sum <"$source/$file" | cut -d ' ' -f 1)

declare -A manifests
for kind in "" -for-users; do
  [ -e "/etc/nixos/secrets$kind.json" ] || continue
  sed "s|@FILE@|$source/$file|g; s|@HASH@|$hash|g" "/etc/nixos/secrets$kind.json" >"$work/manifest"
  "$installer" -check-mode=sopsfile "$work/manifest" || {
    echo "error: builder for 'manifest$kind.json' failed with exit code 1" >&2
    exit 1
  }
  chmod 444 "$work/manifest"
  manifests[x$kind]=$(store "$work/manifest" "manifest$kind.json")
done

snippet() {
  printf '\n#### Activation script snippet %s:\n_localstatus=0\n%s\n\n' "$1" "$2"
  printf 'if (( _localstatus > 0 )); then\n  printf "Activation script snippet '"'%%s'"' failed (%%s)\\n" "%s" "$_localstatus"\nfi\n' "$1"
}
mkdir -p "$work/system/sw/bin"
echo 25.11 >"$work/system/nixos-version"
{
  printf "#!/usr/bin/env bash\n\nsystemConfig='@out@'\n\n_status=0\ntrap \"_status=1 _localstatus=\\\\\$?\" ERR\n\numask 0022\n"
  if [ -n "${manifests[x-for-users]-}" ]; then
    snippet setupSecretsForUsers "[ -e /run/current-system ] || echo setting up secrets for users...
(
  export HOME='/var/empty'
  export PATH=''
  $installer -ignore-passwd ${manifests[x-for-users]}
)"
  fi
  snippet users :
  if [ -n "${manifests[x]-}" ]; then
    snippet setupSecrets "[ -e /run/current-system ] || echo setting up secrets...
$installer ${manifests[x]}"
  fi
  printf '\n# Make this configuration the current configuration.\nln -sfn "$(readlink -f "$systemConfig")" /run/current-system\n\nexit $_status\n'
} >"$work/system/activate"
chmod 555 "$work/system/activate"
out=$(store "$work/system" nixos-system-nixos-vm-25.11)
sed -i "s|@out@|$out|" "$out/activate"

profiles=/nix/var/nix/profiles
mkdir -p "$profiles"
number=$(($(find "$profiles" -name 'system-*-link' | wc -l) + 1))
ln -s "$out" "$profiles/system-$number-link"
ln -sfn "system-$number-link" "$profiles/system"

echo "activating the configuration..." >&2
if [ "$behaviour" = activation-fails ]; then
  # The key that is not there yet when the secrets are to be installed: sops-nix's own commonest failure.
  mount --bind /dev/null /var/lib/sops-nix/key.txt
fi
status=0
"$out/activate" >&2 || status=$?
if [ "$behaviour" = activation-fails ]; then umount /var/lib/sops-nix/key.txt; fi

# What switch-to-configuration would hand to systemd.
for verb in restart reload; do
  list=/run/nixos/activation-$verb-list
  if [ -e "$list" ]; then
    cat "$list" >>"/run/nixos/$verb-log"
    rm "$list"
  fi
done
if [ "$status" != 0 ]; then
  echo "warning: error(s) occurred while switching to the new configuration" >&2
  exit 1
fi
