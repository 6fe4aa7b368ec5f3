// Package disktest makes file systems with project quotas for the tests of
// several rooms, in files, and mounts them.
//
// Invariants: a test that the host cannot run is skipped, with what is missing;
// in the guest of `make vm-test`, which has all, it fails. What a test mounts is
// gone when the test has ended.
//
// It may import kernel.
package disktest
