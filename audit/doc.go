// Package audit is the audit writer: one JSON record for each decision.
//
// It has two sides. The writer (Run) is a process of wardd: it reads a ring
// buffer for each sender, which only filters write, and events of the monitor,
// translates numbers by the image, and appends lines to one file. The reader
// (Follow, Read) is for the command line.
//
// Invariants:
//   - what is lost is counted, per sender, and reported: a gap in a sender's
//     numbers becomes a `lost` record;
//   - each sender has a ring of its own: a flooder loses its own records only;
//   - the writer never blocks a filter, and a full disk does not end it: it
//     counts what it could not write and says so when it can write again;
//   - nothing that a domain says names it: who sent a message is known by the
//     ring in which the record lies.
package audit
