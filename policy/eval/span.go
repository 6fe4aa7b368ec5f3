package eval

import (
	"regexp"
	"strconv"
	"strings"
)

// Units of time, in ns, as @rate and policy tests write them.
var Units = map[string]uint64{"ms": 1e6, "s": 1e9, "m": 60 * 1e9, "h": 3600 * 1e9, "d": 24 * 3600 * 1e9}

// MaxSpan is the longest time that ParseSpan reads, in ns: ten years.
const MaxSpan uint64 = 3650 * 24 * 3600 * 1e9

var (
	spanForm = regexp.MustCompile(`^([0-9]{1,10}(ms|s|m|h|d))+$`)
	spanPart = regexp.MustCompile(`([0-9]+)(ms|s|m|h|d)`)
)

// ParseSpan reads a time such as 10s or 1h30m, in ns; at most MaxSpan.
func ParseSpan(text string) (ns uint64, ok bool) {
	if len(text) > 100 || !spanForm.MatchString(text) {
		return 0, false
	}
	for _, p := range spanPart.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.ParseUint(p[1], 10, 64) // ten digits fit
		if n > MaxSpan/Units[p[2]] {
			return 0, false
		}
		if ns += n * Units[p[2]]; ns > MaxSpan {
			return 0, false
		}
	}
	return ns, true
}

// ShowSpan writes a time in ns as ParseSpan reads it, rounded up to ms.
func ShowSpan(ns uint64) string {
	left := ns
	if over := ns % Units["ms"]; over > 0 {
		left += Units["ms"] - over
	}
	var b strings.Builder
	for _, u := range []string{"d", "h", "m", "s", "ms"} {
		if n := left / Units[u]; n > 0 {
			b.WriteString(strconv.FormatUint(n, 10) + u)
			left -= n * Units[u]
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
