# Process 1 of a test host, in new mount, network, pid, uts and ipc namespaces. It builds a root of its own from the
# directories of this machine, says "ready", and lives until its standard input ends: when the test dies, in whatever
# way, the kernel ends everything in the namespace and drops its mounts.
#   TREE        the host's directory on this machine    DATASET   what it sees at $SEEN_AT, or empty
#   INSTALLER   sops-install-secrets                    NAME      its host name
set -eu
umask 022

# /proc is still that of the outer pid namespace: this is the pid by which nsenter finds us.
read -r outer _ </proc/self/stat
echo "pid $outer"

root=$TREE/root
mount -t tmpfs -o mode=755 host "$root"

# Everything of $1 but the names after it, in the new root.
expose() {
  local from=$1 entry name
  shift
  mkdir -p "$root$from"
  for entry in "${from%/}"/* "${from%/}"/.[!.]*; do
    name=${entry##*/}
    case " $* " in *" $name "*) continue ;; esac
    if [ -L "$entry" ]; then
      cp -P "$entry" "$root$entry"
    elif [ -d "$entry" ]; then
      mkdir "$root$entry" && mount --rbind "$entry" "$root$entry"
    elif [ -f "$entry" ]; then
      : >"$root$entry" && mount --bind "$entry" "$root$entry"
    fi
  done
}
expose / proc run var nix etc home "${SEEN_AT#/}" lost+found
expose /home m

# What NixOS has and this machine need not: its own /nix/store over one that may be here, /etc, /var, /run.
mkdir -p "$root"/{proc,run,etc,var/{empty,lib,root},home/m,nix/store}
if [ -d /nix/store ]; then
  mkdir -p "$root"/var/store/{upper,work}
  layers=lowerdir=/nix/store,upperdir=$root/var/store/upper,workdir=$root/var/store/work
  mount -t overlay -o "$layers" store "$root/nix/store"
fi
mount -t tmpfs -o mode=755 run "$root/run"
mkdir -p "$root"/run/{sshd,nixos,lock}
chmod 700 "$root/var/root"
chown 1000:100 "$root/home/m"
chmod 700 "$root/home/m"
for entry in ld.so.cache ld.so.conf ld.so.conf.d alternatives localtime ssl; do
  if [ -e "/etc/$entry" ]; then cp -a "/etc/$entry" "$root/etc/"; fi
done
cp -r "$TREE"/etc/. "$root/etc/"
chmod 600 "$root/etc/shadow"
for place in etc/ssh etc/nixos var/lib/sops-nix; do
  mkdir -p "$root/$place" && mount --bind "$TREE/${place//\//-}" "$root/$place"
done
if [ -n "$DATASET" ]; then
  mkdir -p "$root$SEEN_AT" && mount --bind "$DATASET" "$root$SEEN_AT"
fi

program=nix/store/0123456789abcdfghijklmnpqrsvwxyz-sops-install-secrets-0.0.1/bin/sops-install-secrets
mkdir -p "$root/${program%/*}"
: >"$root/$program" && mount --bind "$INSTALLER" "$root/$program"

mkdir "$root/old"
pivot_root "$root" "$root/old"
cd /
mount -t proc proc /proc
umount -l /old
rmdir /old
echo "$NAME" >/proc/sys/kernel/hostname
ip link set lo up
# ssh on a loopback loses twice 40 ms to acknowledgements that wait for company.
ip route replace table local local 127.0.0.0/8 dev lo proto kernel scope host src 127.0.0.1 quickack 1
ip route replace table local local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1 quickack 1

echo ready
while read -r _; do :; done
