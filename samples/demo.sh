#!/bin/sh
# The demo of the README: record a real command, prove the capture, show who started whom.
# Where this host can't record, it says why and looks at a capture that was recorded elsewhere.
set -eu

capture=build/demo/demo.lrec
mkdir -p build/demo

# Prints a command as one would type it, and runs it.
run() {
    printf '\n$'
    for word; do
        case $word in *[!A-Za-z0-9_./=-]*) printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
    "$@"
}

status=0
linnix-rec doctor >build/demo/doctor.txt 2>&1 || status=$?
if [ "$status" = 0 ]; then
    printf 'int main(void) { return 0; }\n' >build/demo/hello.c
    compiler=$(command -v cc || command -v gcc || command -v clang || echo true)
    run linnix-rec record --force -o "$capture" -- \
        sh -c "seq 100 | sort -r | uniq | wc -l; $compiler -o build/demo/hello build/demo/hello.c"
else
    cat build/demo/doctor.txt
    [ "$status" = 1 ] || exit "$status" # it did not say what this host lacks: it failed itself
    echo
    echo "This host can't record (see above): here is a capture that was recorded elsewhere."
    capture=samples/make.lrec
fi

run linnix-rec verify "$capture"
run linnix-rec replay --tree "$capture"
