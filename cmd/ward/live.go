package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/compile"
	"ward/image"
	"ward/monitor/admin"
	"ward/policy"
)

// A change of a running system is compiled like the system was, in a confined
// child: from the directory, or from what it was compiled from last, with the
// policies of ward revoke and ward grant beside it. The child gets the running
// image as a hint, so that state keeps its place.

// Files in the run directory, for root only.
const (
	sourceFile = "source.tar"  // what the running policy was compiled from
	liveFile   = "live.cedar"  // what ward revoke and ward grant have added since
	hashFile   = "source.hash" // of the image that these gave
)

// liveName is the source of live policies in findings and audit lines.
const liveName = "ward revoke and grant"

const liveCommand = "confined-live"

// A recompiled system is the answer of the child.
type recompiled struct {
	compiled
	// Wins is the policy that overrides the permit that was asked about.
	Wins   string `json:"wins,omitempty"`
	Source string `json:"source,omitempty"`
}

// recompile compiles an archive of sources with live policies beside it. about
// is the ID of a permit of which it is to be found out what overrides it, or "".
func recompile(ctx context.Context, archive []byte, running *image.Image, live, about string) (*recompiled, error) {
	var in bytes.Buffer
	for _, part := range [][]byte{image.Encode(running), []byte(live), []byte(about)} {
		in.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(part))))
		in.Write(part)
	}
	in.Write(archive)
	answer := new(recompiled)
	return answer, runChild(ctx, &in, answer, liveCommand)
}

func newConfinedLive() *cobra.Command {
	return &cobra.Command{
		Use: liveCommand, Hidden: true, Args: cobra.NoArgs,
		Short: "Compile what is on standard input beside a running system (the confined child of reload, revoke and grant)",
		RunE: func(*cobra.Command, []string) error {
			how, err := confine()
			if err != nil {
				return failed("confine the compiler: %w", err)
			}
			answer, err := compileLive(bufio.NewReader(os.Stdin))
			if err != nil {
				return badInput("%w", err)
			}
			answer.Confined = how
			out := bufio.NewWriter(os.Stdout)
			if err := errors.Join(json.NewEncoder(out).Encode(answer), out.Flush()); err != nil {
				return failed("%w", err)
			}
			return nil
		},
	}
}

func compileLive(in io.Reader) (*recompiled, error) {
	var parts [3][]byte
	for i := range parts {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return nil, err
		}
		n := binary.LittleEndian.Uint32(size[:])
		if n > image.MaxImage {
			return nil, fmt.Errorf("a part of %d bytes", n)
		}
		parts[i] = make([]byte, n)
		if _, err := io.ReadFull(in, parts[i]); err != nil {
			return nil, err
		}
	}
	running, err := image.Decode(parts[0])
	if err != nil {
		return nil, err
	}
	files, err := unpackDirectory(in)
	if err != nil {
		return nil, err
	}
	var more []policy.Source
	if len(parts[1]) > 0 {
		more = []policy.Source{{Name: liveName, Text: string(parts[1])}}
	}
	result, findings := compile.With(files, more, policy.Running(running))
	answer := &recompiled{compiled: *answerOf(result, findings)}
	if about := string(parts[2]); about != "" && result.Image != nil {
		if whole, _ := compile.With(files, more, policy.Running(running), policy.Whole()); whole.Image != nil {
			answer.Wins, answer.Source = overrides(whole.Image, about)
		}
	}
	return answer, nil
}

// overrides finds the forbid that stands over a permit wherever it could match.
func overrides(whole *image.Image, permit string) (id, source string) {
	named := func(v image.Verdict) (string, string) {
		return whole.Policies[v.Policy].ID, whole.Policies[v.Policy].Source
	}
	for i := range whole.Routes {
		r := &whole.Routes[i]
		for m := range r.Methods {
			d := &r.Methods[m].Request
			for _, rule := range d.Permit {
				if whole.Policies[rule.Policy].ID != permit {
					continue
				}
				if !r.Connect.Allow && r.Connect.Policy != abi.NoPolicy {
					return named(r.Connect)
				}
				for _, f := range d.Forbid {
					if f.When.Op == image.True {
						return named(image.Verdict{Policy: f.Policy})
					}
				}
			}
		}
	}
	return "", ""
}

// packed archives the sources of a directory.
func packed(dir string) ([]byte, error) {
	var b bytes.Buffer
	if err := packDirectory(&b, dir, nil); err != nil {
		return nil, badInput("%w", err)
	}
	return b.Bytes(), nil
}

// keepSources writes down what the running policy was compiled from, for later
// changes; an archive of nil: it is not known.
func keepSources(runDir string, archive []byte, live, hash string) error {
	return errors.Join(replaceFile(filepath.Join(runDir, hashFile), []byte(hash)), replaceFile(filepath.Join(runDir, sourceFile), archive), replaceFile(filepath.Join(runDir, liveFile), []byte(live)))
}

// replaceFile writes a file for root only, whole or not at all; nothing: it is removed.
func replaceFile(path string, data []byte) error {
	if len(data) == 0 {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readIfThere reads a file; one that is not there is empty.
func readIfThere(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// A target is a running system whose policy is to be changed.
type target struct {
	dir  string // run directory
	img  *image.Image
	hash string
	live []right
}

// runningTarget asks a running system for its image. A system that cannot be
// changed while it runs is none.
func runningTarget(ctx context.Context, from string) (*target, error) {
	dir, err := systemDir(from)
	if err != nil {
		return nil, err
	}
	if err := changeable(ctx, dir); err != nil {
		return nil, err
	}
	encoded, err := admin.Image(ctx, dir)
	if err != nil {
		return nil, failed("%w", err)
	}
	if len(encoded) == 0 {
		return nil, failed("the monitor of %s does not tell its image: it is of another version of Ward", nameOf(dir))
	}
	img, err := image.Decode(encoded)
	if err != nil {
		return nil, failed("the image that runs did not come whole, since the monitor ended meanwhile, or is one of another version of Ward: ask again, and see 'ward audit': %w", err)
	}
	t := &target{dir: dir, img: img, hash: image.Hash(encoded)}
	text, err := readIfThere(filepath.Join(dir, liveFile))
	if errors.Is(err, fs.ErrPermission) {
		return t, nil // a user whom the policy lets change the system: what root granted is root's to know
	}
	if err != nil {
		return nil, failed("%w", err)
	}
	t.live, err = parseRights(string(text))
	return t, err
}

// adopt gives a new compilation the programs of the domains that run already,
// and the numbers of the running image.
func (t *target) adopt(img *image.Image, build map[string]string) (*image.Image, error) {
	programs := map[string]string{}
	for i := range t.img.Domains {
		programs[t.img.Domains[i].Name] = t.img.Domains[i].Program
	}
	for i := range img.Domains {
		d := &img.Domains[i]
		if _, built := build[d.Name]; built && d.Program == "" {
			d.Program = programs[d.Name]
		}
	}
	if img.Name != t.img.Name {
		return nil, badInput("this is the system %q, and %q is running: give the directory of %[2]q, name another system with --system, or start this one with 'ward up'", img.Name, t.img.Name)
	}
	aligned, err := image.Align(t.img, img)
	if err != nil {
		return nil, failed("%w", err)
	}
	return aligned, nil
}
