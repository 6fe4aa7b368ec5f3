// Package creator is the controlled process creator: the one process of wardd
// that makes processes. The monitor asks it by number: it names a domain of
// the image, of which the creator has its own copy, and cannot name a program,
// a path, a user ID or a right.
//
// Invariants:
//   - a request outside the fixed dispatch table, of the wrong size, with the
//     wrong number of descriptors, or at the wrong time is fatal: the creator
//     kills what it made and ends;
//   - it signals only processes that it started or took over from a creator
//     before it, which it knows by their user IDs, and by pidfd; it reaps those
//     that it started;
//   - what it tells unasked it keeps until it hears that it was acted on, and tells it
//     again to whoever takes over its channel (notice.go);
//   - it runs one thread of control: no request is served while another is;
//   - it writes nothing to the host's file systems but its cgroup directories,
//     and removes them at the end;
//   - when the other end of its channel is closed by all who held it, it kills
//     all domains: nothing runs that nobody answers for.
//
// It may import abi, image and kernel.
package creator
