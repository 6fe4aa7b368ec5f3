package monitor

import (
	"fmt"
	"testing"
)

// What `ward ps DOMAIN` says of objects: the rights, and what is held.
func TestObjectsDescribed(t *testing.T) {
	s := memorySystem(t, nil)
	c := s.domain(client)
	first, _ := c.gets(makes(1, 5000), readWrite, 5000)
	c.gets(makes(2, 3000), readWrite, 3000)
	c.gets(openBoard(3, readOnly), readOnly, 1<<12)
	c.gets(openBoard(4, readOnly), readOnly, 1<<12)
	described := func() string {
		t.Helper()
		a, ok := s.m.describe(client, true)
		if !ok {
			t.Fatal("there is no such domain")
		}
		text := ""
		for _, o := range a.Descriptor.Objects {
			text += fmt.Sprintf("%s %s", o.Kind, o.Name)
			for _, r := range o.Rights {
				text += " " + r.Access
				if r.Policy == "" {
					t.Errorf("%s of %s is from no policy", r.Access, o.Name)
				}
			}
			text += fmt.Sprintf(", %d of %d bytes\n", o.Held, o.Bytes)
		}
		return text
	}
	if got, want := described(), "memory frames create, 2 of 8000 bytes\nshared memory board read, 2 of 4096 bytes\n"; got != want {
		t.Errorf("%swant\n%s", got, want)
	}
	c.ok(drop(5, first))
	if got, want := described(), "memory frames create, 1 of 3000 bytes\nshared memory board read, 2 of 4096 bytes\n"; got != want {
		t.Errorf("%swant\n%s", got, want)
	}
}
