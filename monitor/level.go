package monitor

import "os"

// At the level `library` the ends of a gate get its policy beside it, and a
// domain the way on which its library reports what it decided. Fabrics of that
// level make endpoints and gates that have these.

// reportsOf is what the domain's greeting carries beside the page.
func reportsOf(e Endpoint) []*os.File {
	if r, ok := e.(interface{ Reports() *os.File }); ok {
		return []*os.File{r.Reports()}
	}
	return nil
}

// checkOf is what an offer carries beside the end of the gate.
func checkOf(g Gate) []*os.File {
	if c, ok := g.(interface{ Check() *os.File }); ok {
		return []*os.File{c.Check()}
	}
	return nil
}
