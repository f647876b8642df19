# What ./shop does on the host for the tools image, which has no Docker: read in by ./shop, which sets work and container.
#
#   asks/N.run, N.keep, N.undo ─▶ granted? ─▶ docker … ─▶ answers/N.output, N.code      cli/systems/docker.py asks
#   in the end, however ./shop or the container ended: what is kept is undone
#
# A request is a word a line, as `printf %b` reads it, and an empty line between commands. Only POSIX's shell is used.

# ---- what is granted: this project's parts, and no more than the command line has to ask for ----

is_part() {
  case $1 in gateway | order | payment | inventory | card-network | kafka | postgres | jaeger) ;; *) return 1 ;; esac
}

# are_ours container|network LABELS NAME...: whether compose made them for this project.
are_ours() {
  kind=$1 labels=$2; shift 2
  [ $# -gt 0 ] || return 1
  for name; do case $name in '' | -* | *[!A-Za-z0-9_.-]*) return 1 ;; esac; done
  label="{{index $labels \"com.docker.compose.project\"}}"
  projects=$(docker "$kind" inspect --format "$label" "$@" 2>/dev/null | sort -u)
  [ "$projects" = "$(docker compose config 2>/dev/null | sed -n 's/^name: *//p' | tr -d "\"'")" ]
}

is_scaling() {
  [ $# -gt 3 ] && [ "$1 $2 $3" = "--detach --no-recreate --no-deps" ] || return 1
  shift 3
  for count; do
    case $count in --scale=order=[1-9] | --scale=payment=[1-9] | --scale=inventory=[1-9] | order | payment | inventory) ;; *) return 1 ;; esac
  done
}

# psql as a service's reader, and SQL; no command of psql's own, which could run a program.
is_reading() {
  [ $# -ge 7 ] && [ "$1 $2 $3 $4 $6" = "postgres psql --no-psqlrc --username --dbname" ] &&
    is_part "$7" && [ "$5" = "${7}_reader" ] || return 1
  shift 7
  while [ $# -gt 0 ]; do
    case $1 in
      --csv | --tuples-only | --no-align | --quiet) shift ;;
      --set) [ "${2-}" = ON_ERROR_STOP=1 ] || return 1; shift 2 ;;
      --command)
        # \d describes tables, as long as there is no backquote in it.
        case ${2-} in '' | \\ | \\[!d]* | \\d*[!A-Za-z_.*+\ ]*) return 1 ;; esac
        shift 2 ;;
      *) return 1 ;;
    esac
  done
}

# How a container is checked, or how long it waits: its environment has passwords too.
is_question() {
  [ "$1" = '{{json .Config.Healthcheck}}' ] && return 0
  end=${1#'{{range .Config.Env}}{{if eq (index (split . "=") 0)'}
  names=${end%'}}{{println .}}{{end}}{{end}}'}
  [ "$end" != "$1" ] && [ "$names" != "$end" ] || return 1
  case $names in *[!A-Z_\"\ ]*) return 1 ;; esac
  for quoted in $names; do
    name=${quoted#\"} && name=${name%\"}
    case $name in *\"*) return 1 ;; *_SECONDS) ;; *) return 1 ;; esac
  done
}

# is_its_check CONTAINER WORD...: whether it is the health check that the container was made with.
is_its_check() {
  made_of='{{range .Config.Healthcheck.Test}}{{println .}}{{end}}'
  checked=$(docker container inspect --format "$made_of" "$1" 2>/dev/null)
  shift
  [ "$checked" = "$(printf '%s\n' CMD "$@")" ]
}

# granted WORD...: whether the tools image may have `docker WORD...`.
granted() {
  [ $# -ge 2 ] || return 1
  what=$1; shift
  case $what in
    compose)
      what=$1; shift
      case $what in
        ps) ;;
        up) is_scaling "$@" ;;
        exec) [ "${1-}" = -T ] && shift && is_reading "$@" ;;
        *) return 1 ;;
      esac ;;
    inspect) [ "$1" = --format ] && is_question "${2-}" && shift 2 && are_ours container .Config.Labels "$@" ;;
    stop | start | pause | unpause) are_ours container .Config.Labels "$@" ;;
    exec) are_ours container .Config.Labels "$1" && is_its_check "$@" ;;
    network)
      case $1 in
        disconnect) [ $# -eq 3 ] ;;
        connect) [ $# -eq 5 ] && [ "$2" = --alias ] && is_part "$3" && shift 2 ;;
        *) return 1 ;;
      esac && are_ours network .Labels "$2" && are_ours container .Config.Labels "$3" ;;
    *) return 1 ;;
  esac
}

# ---- answering ----

# each_command FILE ACT: calls ACT with each command of a request, until one fails.
each_command() {
  file=$1 act=$2
  set --
  while IFS= read -r line; do
    if [ -n "$line" ]; then
      word=$(printf '%b.' "$line") && set -- "$@" "${word%.}"
    else
      "$act" "$@" </dev/null || return
      set --
    fi
  done <"$file"
  "$act" "$@" </dev/null
}

grant() { granted "$@" || { echo "./shop does not do this for the tools image" >&2; return 126; }; }

run() { grant "$@" && docker "$@"; }

# Ctrl-C may reach it too, so that it gets another chance.
heal() {
  for _ in 1 2 3; do said=$(docker "$@" 2>&1) && return; sleep 1; done
  printf '%s\n' "$said" >&2
  is_undone=no
}

undo() {
  is_undone=yes
  mv "$work/kept/$1" "$work/$1.undoing" && each_command "$work/$1.undoing" heal && [ $is_undone = yes ]
}

# answer NUMBER VERB: a request that lies in our own folder by now.
answer() {
  request=$work/$1.$2
  case $2 in
    run) each_command "$request" run ;;
    keep) each_command "$request" grant && mv "$request" "$work/kept/$1" && echo "$1" ;;
    undo) kept=$(cat "$request"); case $kept in '' | *[!0-9-]*) false ;; *) undo "$kept" ;; esac ;;
  esac >"$work/$1.output" 2>"$work/$1.errors"
  code=$?
  [ $code -eq 0 ] || mv "$work/$1.errors" "$work/$1.output"
  echo $code >"$work/$1.code"
  mv "$work/$1.output" "$work/answers/" && mv "$work/$1.code" "$work/answers/"
  rm -f "$work/$1.changes"
}

# own_file FROM TO: takes a file from where the container can write to where it cannot, before anybody looks into it.
own_file() { mv "$1" "$2" 2>/dev/null && [ -f "$2" ] && [ ! -h "$2" ]; }

take() {
  name=${1##*/}
  # Where there is no request the pattern stays as it is.
  case ${name%.*} in *[!0-9-]*) return ;; esac
  own_file "$1" "$work/$name" || return
  : >"$work/asked"
  # What only looks is not waited for in the end; what changes something has to be over before it is undone.
  case $(head -n 2 "$work/$name" | tr '\n' ' ') in
    "compose ps "* | "compose exec "* | "inspect "* | "exec "*) ;;
    *) : >"$work/${name%.*}.changes" ;;
  esac
  # By exec: a redirected function would keep the old descriptors, and with them whoever reads what ./shop prints.
  { exec >/dev/null 2>&1; answer "${name%.*}" "${name##*.}"; } &
}

# Until ./shop has ended, in which way ever: the only other end of `life` is its own.
attend() {
  # PIPE comes from saying what went wrong to a reader that is gone.
  trap '' INT QUIT TERM HUP PIPE
  { cat "$work/life"; : >"$work/ended"; } &
  until [ -e "$work/ended" ]; do
    for asked in "$work"/asks/*.run "$work"/asks/*.keep "$work"/asks/*.undo; do take "$asked"; done
    sleep 0.1
  done
  while [ -n "$(ls "$work" | sed -n '/\.changes$/p')" ]; do sleep 0.1; done
  # The last first.
  for kept in $(ls "$work/kept" | sort -t - -k 2 -n -r); do undo "$kept" || echo "./shop could not undo this" >&2; done
  remove
  rm -rf "$work"
}

# Where ./shop was killed the container goes on, or, if it never asked, is about to begin.
remove() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    docker container inspect "$container" >/dev/null 2>&1 && docker rm --force "$container" >/dev/null 2>&1 && return
    [ ! -e "$work/over" ] && [ ! -e "$work/asked" ] || return
    sleep 0.5
  done
}

# converse WORD...: psql in this terminal, which a container cannot hand over; the terminal is descriptor 4.
converse() {
  [ $# -eq 9 ] && [ "$1 $2" = "compose exec" ] || return 126
  shift 2
  is_reading "$@" && docker compose exec "$@" <&4
}
