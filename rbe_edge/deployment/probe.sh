# Says what a device is, one `rbe:KEY=VALUE` a line; a login may write lines of its own around them. For any POSIX sh:
# dash, busybox, Android's mksh. $1: the directory that is to hold the files. Leaves nothing behind.

say() { echo "rbe:$1=$2"; }

elf_bits() { # of the programs of this system: byte 4 of an ELF file
    if [ "$(head -c 5 "$(command -v sh)" | tail -c 1)" = "$(printf '\002')" ]; then echo 64; else echo 32; fi
}

memory() { # $1: a line of /proc/meminfo
    sed -n "s/^$1: *\([0-9]*\) kB/\1/p" /proc/meminfo
}

case $1 in
'~') directory=$HOME ;;
'~/'*) directory=$HOME/${1#'~/'} ;;
/*) directory=$1 ;;
*) directory=$HOME/$1 ;;
esac
say directory "$directory"

say system "$(uname -s)"
say machine "$(uname -m)"
bits=$(getconf LONG_BIT 2>/dev/null)
say bits "${bits:-$(elf_bits)}"
say android "$(getprop ro.build.version.sdk 2>/dev/null)"
if [ -r /proc/cpuinfo ]; then
    say cores "$(grep -c '^processor' /proc/cpuinfo)"
    say features "$(sed -n -e 's/^Features[^:]*: *//p' -e 's/^flags[^:]*: *//p' -e 's/^isa[^:]*: *//p' /proc/cpuinfo | head -n 1)"
fi
if [ -r /proc/device-tree/model ]; then say model "$(tr -d '\000' </proc/device-tree/model)"; fi
if [ -r /proc/meminfo ]; then
    say memory_kib "$(memory MemTotal)"
    say available_kib "$(memory MemAvailable)"
fi

for tool in sha256sum 'busybox sha256sum' 'toybox sha256sum' 'shasum -a 256'; do
    if echo | $tool >/dev/null 2>&1; then
        say hash "$tool"
        break
    fi
done

# The directory, or what of its path exists.
there=$directory
while [ ! -e "$there" ] && [ "$there" != / ]; do
    there=${there%/*}
    there=${there:-/}
done
say there "$there"

last=
for word in $(df -Pk "$there" 2>/dev/null | tail -n 1); do # the name of a file system may hold blanks: count from the %
    case $word in *[0-9]%)
        say free_kib "$last"
        break
        ;;
    esac
    last=$word
done

trial=$there/.rbe-probe-$$
if [ ! -d "$there" ]; then
    say refused 'is no directory'
elif error=$( (echo 'exit 0' >"$trial") 2>&1); then
    chmod 755 "$trial" 2>/dev/null
    (echo "#!$(command -v sh)" && echo 'exit 0') >"$trial" 2>/dev/null
    if "$trial" >/dev/null 2>&1; then say runs yes; else say runs no; fi
else
    say refused "${error##*: }"
fi
rm -f "$trial" 2>/dev/null

say python "$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null </dev/null)"
if [ -d /run/systemd/system ]; then say systemd yes; else say systemd no; fi
say root "$(id -u)"
