// Package redteam attacks domains from inside, and shows for each attack what
// stops it: the same attack takes effect where that defence is missing. It is
// nothing but tests, a table of them, and a document made of the table
// (docs/redteam.md, `make redteam`).
//
// Invariants:
//   - an attack that is refused counts only if its control took effect in the
//     same run: an attack that fails for another reason looks like a defence.
//     One whose control cannot be run on this machine is listed as not shown;
//   - a control leaves out as little as makes the attack work. It runs in the
//     domain without those defences, or as root in namespaces that are thrown
//     away, or plainly, as the domain's user;
//   - the victims, files, cgroups, sockets and IPC objects are the test's own.
//     No order of the hostile program changes the machine where nothing stops
//     it: those that would are called so that the kernel judges the rights and
//     then has nothing to do;
//   - what is exhausted is bounded by the number that the order is given.
//
// What takes whole systems to attack (gates, messages, the monitor) is in
// cmd/wardd, kernel and monitor: docs/attacks.md.
package redteam
