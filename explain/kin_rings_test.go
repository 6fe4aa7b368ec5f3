package explain

import (
	"slices"
	"testing"
)

// What is proposed for children in a ring is a policy that Cedar reads, for that ring.
func TestProposedForRing(t *testing.T) {
	for name, want := range map[string]string{"worker": "worker", "worker#3": "worker", "worker@user": "worker", "worker@user#3": "worker", "user:a@b": "user:a@b"} {
		if got := plain(name); got != want {
			t.Errorf("%s is called %s, want %s", name, got, want)
		}
	}
	if got := ringsOf("worker@user#3", "desk@system"); !slices.Equal(got, []string{`principal.ring.name == "user"`, `resource.ring.name == "system"`}) {
		t.Errorf("%v", got)
	}
	if got := ringsOf("user:a@b", "desk#1"); len(got) != 0 {
		t.Errorf("%v of who is in no other ring", got)
	}
}
