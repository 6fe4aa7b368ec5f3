// Package monitor is the reference monitor: it starts the domains, decides by
// the image who gets a gate to whom, hands the ends over, and ends the system.
// It is not in the path of any message.
//
// What domains ask comes over their control channels and goes through one
// table (dispatch.go): for each operation, when it is permitted and who
// answers. Everything else is a hostile act, and the domain is killed
// (docs/decisions/0031-malformed-control.md).
//
// Invariants:
//   - the decision is the image's; the monitor only looks it up, and what the
//     image does not allow is refused;
//   - who asks is known by the channel on which it asks, and for a program
//     outside Ward by the kernel (SO_PEERCRED, SO_PEERPIDFD, SO_PEERGROUPS);
//   - nobody makes it wait: what it sends to a domain is sent at once or not
//     at all, what it reads from one is bounded per second, and all that a
//     domain or user can hold is counted;
//   - what the image lets be asked for has room, whatever children and delegations
//     have (room.go), and who asks on and on keeps nobody else waiting (turns.go);
//   - memory goes only to whom the image lets have it: by its name, or for a handle
//     that the kernel has admitted in a message to this end of a gate (objects.go);
//   - another image comes into force whole or not at all (switch.go), also if monitors
//     die meanwhile (fallback.go); numbers in
//     use mean the same in both (image.Align);
//   - when Run returns all that was under way is done and recorded, or it is said
//     that it is not; nothing begins then (work.go). So what may record something is
//     run by work.run or work.after, or counted from the message on that it acts on;
//   - it works on fixed binary messages and the checked image; of texts it reads the
//     two tables of users, once (users.go).
//
// Locks: Monitor.mu guards all state; nothing waits while it is held.
// Monitor.loader is held while the kernel verifies the programs of a route, and
// during a change of the image (switch.go), in turns (loader.go); it is taken without mu, and mu in it.
// Gates are made without a lock (making.go).
package monitor
