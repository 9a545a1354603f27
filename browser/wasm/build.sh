#!/bin/sh
# Puts i420.c, compiled, into ../i420.js. It needs the Debian packages clang and lld.
set -e
cd "$(dirname "$0")"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
clang --target=wasm32 -O3 -msimd128 -nostdlib -Wall -Wl,--no-entry,--strip-all,--stack-first -Wl,-z,stack-size=4096 -o "$out" i420.c
sed -i "s|^const WASM = .*|const WASM = \"$(base64 -w0 "$out")\";|" ../i420.js
wc -c < "$out"
