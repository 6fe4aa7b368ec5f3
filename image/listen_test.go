package image

import (
	"fmt"
	"testing"

	"ward/abi"
)

// Two addresses that some packet is for are one domain's, and others need not be.
func TestListenConflicts(t *testing.T) {
	const none, one = 0, 1
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"udp:127.0.0.1:53", "udp:127.0.0.1:53", one},
		{"tcp:127.0.0.1:53", "tcp:127.0.0.1:53", one},
		{"udp:*:53", "udp:127.0.0.1:53", one},
		{"udp:[::1]:53", "udp:*:53", one},
		{"udp:*:53", "udp:*:53", one},
		{"udp:0.0.0.0:53", "udp:127.0.0.1:53", one},
		{"udp:[::]:53", "udp:[fd00::1]:53", one},
		{"udp:[::]:53", "udp:127.0.0.1:53", none},
		{"udp:0.0.0.0:53", "udp:[::1]:53", none},
		{"udp:127.0.0.1:53", "udp:127.0.0.2:53", none},
		{"udp:127.0.0.1:53", "udp:127.0.0.1:54", none},
		{"udp:*:53", "tcp:*:53", none},
		{"unix:/run/a", "unix:/run/b", none},
	} {
		for _, kind := range []string{"start", "template", "refused", "the same"} {
			yes := Verdict{Allow: true}
			img := &Image{Name: "listens", Policies: []Policy{{ID: "yes"}}, Domains: []Domain{
				{Name: "a", Program: "/bin/a", Ring: Ring{Level: 3, Name: "user"}, Start: yes, Listen: []Listen{{Name: "x", Address: c.a}}},
				{Name: "b", Program: "/bin/b", Ring: Ring{Level: 3, Name: "user"}, Start: yes, Listen: []Listen{{Name: "x", Address: c.b}}}}}
			want := c.want
			switch kind {
			case "template":
				img.Domains[1].Template, want = true, none
			case "refused":
				img.Domains[1].Start, want = Verdict{Policy: abi.NoPolicy}, none
			case "the same":
				img.Domains[0].Listen = append(img.Domains[0].Listen, Listen{Name: "y", Address: c.b})
				img.Domains, want = img.Domains[:1], none
			}
			got := img.ListenConflicts()
			if len(got) != want || want == one && got[0] != (ListenConflict{0, 1, c.a, c.b}) {
				t.Errorf("%s, %s, %s: %+v", c.a, c.b, kind, got)
			}
			if kind == "start" {
				if err := img.Check(); (err != nil) != (want == one) {
					t.Errorf("%s, %s: Check says %v", c.a, c.b, fmt.Sprint(err))
				}
			}
		}
	}
}
