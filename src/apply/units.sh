# Restarts units of users' own managers: a line for each user, `done`, `idle` (nobody's manager runs: the units begin with
# the new secrets), `needs-root`, or `failed` with what was said. `become` is `sudo` or `never`.
LC_ALL=C
PATH=$PATH:/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/bin:/usr/sbin:/sbin
export LC_ALL PATH

restart() {
  user=$1
  shift
  if ! uid=$(id -u "$user" 2>&1); then echo "failed $user there is no such user" && return; fi
  if [ ! -d "/run/user/$uid" ]; then echo "idle $user" && return; fi
  me=$(id -u)
  if [ "$me" = "$uid" ]; then
    said=$(XDG_RUNTIME_DIR=/run/user/$uid systemctl --user restart -- "$@" 2>&1)
  elif [ "$me" = 0 ]; then
    said=$(systemctl --user "--machine=$user@.host" restart -- "$@" 2>&1)
  elif [ "$become" = sudo ]; then
    said=$(sudo -n -- systemctl --user "--machine=$user@.host" restart -- "$@" 2>&1)
  else
    echo "needs-root $user" && return
  fi && echo "done $user" || echo "failed $user $(printf %s "$said" | tr '\n' ' ')"
}

