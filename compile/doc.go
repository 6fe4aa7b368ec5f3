// Package compile wires the readers of a system directory and the policy
// compiler together: a directory in, an image and everything worth telling
// about it out.
//
// Invariants: pure but for the fs.FS that it is given; findings of
// independent files come in one run; no image if there is an error.
package compile
