// Package diag holds findings about what people wrote: where, what, and what
// to do. It is pure; every reader of text (system, interfaces, policy) reports
// through it, so that one run can show several findings at once.
package diag
