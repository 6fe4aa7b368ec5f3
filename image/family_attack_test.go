package image

import (
	"strings"
	"testing"
)

// A domain gets more than its quota by way of children that end at once and
// leave to an adopted grandchild what they had. The control: what the child had
// and nobody has any more is its parent's again.
func TestAttackAdoptedQuota(t *testing.T) {
	for _, adopt := range []bool{false, true} {
		f := NewFamily(familyImage())
		f.img.Domains[0].Quota.Processes = 40
		whole := ChildQuota{Processes: 40, Memory: 4 << 20}
		if _, _, err := f.Add(FirstChild, 0, 1, "one", whole, false); err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.Add(FirstChild+1, FirstChild, 1, "two", whole, adopt); err != nil {
			t.Fatal(err)
		}
		for _, k := range f.Doomed(FirstChild) {
			f.Remove(k.ID)
		}
		f.Remove(FirstChild)
		_, _, err := f.Add(FirstChild+2, 0, 1, "three", whole, false)
		if !adopt && err != nil {
			t.Errorf("the control: %v", err)
		}
		if adopt && (err == nil || !strings.Contains(err.Error(), "0 left of 40")) {
			t.Errorf("40 processes are an adopted child's, and 40 more another's: %v", err)
		}
		f.Remove(FirstChild + 1)
		f.Remove(FirstChild + 2)
		if _, _, err := f.Add(FirstChild+3, 0, 1, "four", whole, false); err != nil {
			t.Errorf("nobody has it any more: %v", err)
		}
	}
}
