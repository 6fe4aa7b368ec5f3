package system

import (
	"strings"
	"testing"
	"testing/fstest"
)

// TestSlips: what one forgets at first comes with what to do.
func TestSlips(t *testing.T) {
	for text, want := range map[string]string{
		"ward: 1\nname: y\ndomains:\n  web:\n    program:/bin/true\n": "put a space after the colon: program: /bin/true",
		"name: y\ndomains: {}\n":                  "begin it with `ward: 1`",
		"ward: 1\nname: y\ndomains:\n\tweb: {}\n": "indent with spaces",
	} {
		_, found := Load(fstest.MapFS{"system.yaml": {Data: []byte(text)}})
		if !found.Failed() || !strings.Contains(found.Error(), want) {
			t.Errorf("%q: %v, want %q", text, found, want)
		}
	}
}
