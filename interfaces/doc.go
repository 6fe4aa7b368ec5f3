// Package interfaces reads .proto files: which entry points there are, and
// the type, number and size of their parameters, with the bounds that
// protovalidate rules state and the defaults for what they leave open.
//
// Invariants:
//   - pure but for the fs.FS that it is given: no os, net, syscall or unsafe;
//   - the position of a method in its interface is the order of declaration;
//   - a rule that the kernel does not check is listed in Set.Unenforced:
//     none is dropped; what the bounds refuse, protovalidate refuses, too, but
//     for enum numbers that are not defined and for Ward's defaults (a test
//     compares the two);
//   - what it refuses, it refuses with file, line, column and what to write instead.
package interfaces
