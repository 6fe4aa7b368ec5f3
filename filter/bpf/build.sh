#!/bin/sh
# Builds gate.bpf.o from gate.bpf.c: build.sh [OUTPUT]. The object holds no
# path of the machine, so the same compiler gives the same bytes anywhere.
set -eu
cd "$(dirname "$0")"
${CLANG:-clang} -O2 -g -target bpf -mcpu=v3 -Wall -Werror \
	-fdebug-compilation-dir=. -fdebug-prefix-map="$PWD"=. \
	-I"/usr/include/$(uname -m)-linux-gnu" -c gate.bpf.c -o "${1:-gate.bpf.o}"
# DWARF is of no use to the kernel; BTF stays.
${STRIP:-llvm-strip} -g "${1:-gate.bpf.o}"
