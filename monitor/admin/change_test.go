package admin

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ward/image"
)

// TestBecame: who asked for a change whose monitor died is told what became of it, by
// the next one, or that nobody knows. The control: what was answered is not asked again.
func TestBecame(t *testing.T) {
	before, after := "the image before", "the image that is wanted"
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, []byte(after), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	no := `{"error":"no"}` + "\n"
	for name, c := range map[string]struct {
		texts []string
		want  error
		asked int
	}{
		"made":                    {[]string{"", no, after}, errMade, 3},
		"not made":                {[]string{`{"hash":`, `{"hash":"x"}` + "\n", before}, errNotMade, 3},
		"somebody else's by now":  {[]string{"", no, "another image"}, errUnknown, 3},
		"died again":              {[]string{"", "", "", no, after}, errMade, 5},
		"died again and again":    {[]string{"", "", "", "", after}, errUnknown, 4},
		"it has an image to hide": {[]string{"", no, no}, errUnknown, 3},
	} {
		t.Run(name, func(t *testing.T) {
			dir, asked := answers(t, c.texts...)
			change := &Change{Kind: Reload, Running: image.Hash([]byte(before)), Image: f}
			_, err := change.Ask(t.Context(), dir)
			if n := asked(); !errors.Is(err, c.want) || n != c.asked {
				t.Errorf("%v, after %d questions", err, n)
			}
		})
	}
	dir, asked := answers(t, no)
	if _, err := (&Change{Kind: Reload, Running: image.Hash([]byte(before)), Image: f}).Ask(t.Context(), dir); err == nil || err.Error() != "no" || asked() != 1 {
		t.Errorf("the control: %v", err)
	}
}
