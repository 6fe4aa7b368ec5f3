package thread_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ward/thread"
)

// A name that came from outside is opened on a thread that can open nothing
// but what lies in one directory.
func ExampleRun() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	spool := filepath.Join(dir, "spool")
	if err := errors.Join(os.Mkdir(spool, 0o755), os.WriteFile(spool+"/job", []byte("a job"), 0o644), os.WriteFile(dir+"/key", []byte("a key"), 0o600)); err != nil {
		fmt.Println(err)
		return
	}
	rules := thread.Rules{Read: []string{spool}}
	for _, name := range []string{"job", "../key"} {
		var text []byte
		err := thread.Run(context.Background(), rules, func(context.Context) error {
			var err error
			text, err = os.ReadFile(spool + "/" + name)
			return err
		})
		fmt.Printf("%s: %q, refused: %v\n", name, text, errors.Is(err, fs.ErrPermission))
	}
	// Output:
	// job: "a job", refused: false
	// ../key: "", refused: true
}
