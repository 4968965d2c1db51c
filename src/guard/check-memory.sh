#!/bin/sh
# Runs this crate's tests under valgrind memcheck: no access outside of what is
# mapped or allocated, no use of freed or uninitialized memory. Fails with the first
# test binary that has an error.
#
# valgrind 3.19 does not know memfd_secret and answers ENOSYS, so that the tests of
# that kind run in anonymous memory here; `cargo test` runs them as they are.
set -eu
cd "$(dirname "$0")/../.."

if ! command -v valgrind >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "check-memory: install valgrind first (Debian: apt-get install valgrind)" >&2
        exit 1
    fi
    apt-get update -qq && apt-get install -qq -y valgrind
fi

# The tests start themselves again, each in a process of its own: --trace-children.
# Leaks are not looked for: a forked child has all of its parent's threads' memory
# and none of their stacks.
runner='valgrind --quiet --error-exitcode=99 --trace-children=yes --leak-check=no'
array=$(printf '"%s",' $runner)

exec cargo test -p strongroom-guard --lib --tests \
    --config "target.'cfg(all())'.runner=[${array%,}]" "$@" -- --test-threads=2
