// Package page reads verdict pages. It is apart from kernel so that domain
// programs, which need this and nothing else of it, do not carry BPF loading.
//
// Invariants: a page is mapped read-only; words are read with one atomic load;
// no word outside the block is ever read.
package page
