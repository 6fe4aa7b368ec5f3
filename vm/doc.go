// Command vm runs the demo and the tests that need a real kernel in a QEMU
// guest with Debian's 6.1 cloud kernel, the oldest that Ward supports:
//
//	make vm-test
//
// It fetches the kernel package with apt-get (once, into build/vm), compiles
// the programs and test binaries statically, packs them with a small init
// (vm/init) into an initial RAM disk, boots it, and reads the results from the
// serial console. Nothing of the host is mounted or reached: the guest has no
// disk and no network. It needs qemu-system-x86, dpkg and e2fsprogs, and xfsprogs for tests on XFS, no root, and takes a
// few minutes without KVM.
package main
