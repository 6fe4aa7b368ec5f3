// Package repotest holds tests of the repository as a whole: which room may
// import what, what the privileged binary depends on, where unsafe may stand,
// and habits that a compiler does not check. It has no code of its own.
package repotest
