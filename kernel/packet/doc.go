// Package packet sends and receives packets of gates. It is apart from kernel
// for the same reason as page, and there because x/sys/unix asks for the
// sender's address with every message, which costs an allocation a call.
package packet
