// Package thread runs a function on an operating system thread of its own that
// has fewer rights than the rest of the process: the secure thread. Files are
// narrowed by Landlock, TCP ports too, system calls by a seccomp allow-list.
// The thread is destroyed when the function returns; nothing else in the
// process is changed. It needs no privilege, and works inside a domain of Ward
// as well as in a program that has nothing else to do with Ward.
//
//	err := thread.Run(ctx, thread.Rules{Read: []string{"/var/spool/in"}}, func(ctx context.Context) error {
//		return parse(ctx, name) // opens a file that somebody else named
//	})
//
// # What it is for
//
// Code that you trust not to be hostile but that may be led astray by its
// input: a path with "..", an address in a document, a template that wants to
// run a program. What it opens, connects to or executes itself, on this
// thread, the kernel refuses unless Rules grant it, with EACCES (Landlock) or
// EPERM (seccomp).
//
// # What it is not for
//
// A thread is no protection domain: all threads of a process share one address
// space and one table of descriptors, and the kernel protects neither. A
// function that is hostile, or that has an error by which its input can write
// memory (package unsafe, cgo, a data race on a slice, interface or map) gets
// whatever the process has. Run such code as a domain. In particular:
//
//   - Memory. It reads and writes everything in the process: keys,
//     other goroutines' variables, and what other threads will do next.
//   - Descriptors. It can read, write, truncate and close every descriptor that
//     the process has open, by number, or by any *os.File or net.Conn that it
//     can reach. What was opened before needs no right now, and a directory's
//     descriptor is only as good as Rules for what is beneath it.
//   - Other threads as deputies. Whatever another goroutine does on the
//     function's behalf is done with that one's rights: a value sent on a
//     channel, a method of a shared cache or connection pool, a callback, a
//     finalizer, a timer's function, an init of a package-wide sync.Once that
//     runs elsewhere first.
//   - Goroutines. A go statement inside the function starts its goroutine on
//     some other thread, which is not narrowed. Libraries have such statements:
//     net/http dials in one, package net looks names up in one, os/exec copies
//     in one, testing runs subtests in one. Only what the calling goroutine
//     does itself is checked. Run refuses to be called inside Run, because the
//     inner function would have more rights than the outer one.
//   - What is not narrowed at all. File names, sizes and times may be looked at
//     (stat); what it prints goes where the process prints; it can use up
//     memory and processor time, and end the process (os.Exit, a fatal error).
//
// # The kernel
//
// Landlock is needed: Linux 5.13. What a newer version of it brought and Rules
// ask for is an error on an older one (MissingError), unless Rules name it as
// something that may be lacking. On Linux 6.1 everything works but TCP ports
// and the scopes of AbstractSockets and Signals; see Right.
//
// This is the variant "secure thread" of the pattern Secure Process.
package thread
